"""Loss, sampler and evaluator exchanged between two steps of a fit, and a run that was so resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import Logger
from torch import Tensor

from lightning_gft import (
    AdaptiveCoefficientRectifier,
    DFTLoss,
    Evaluation,
    GFTLoss,
    GroupLoss,
    GroupSampler,
    Reward,
    SFTLoss,
    TeacherSource,
)
from lightning_gft.evaluation import Evaluator
from tests.module.runs import ROWS, DigitSum, Rows, fit, make_module, weights

pytestmark = pytest.mark.filterwarnings("ignore:Using ModelCheckpoint with manual", "ignore:Be aware that when using")


class Brevity(Reward):
    """Shorter is better; counts what it has scored."""

    scored = 0

    def __call__(self, *, responses: Any, **keywords: Any) -> Tensor:
        self.scored += len(responses)
        return torch.tensor([1.0 / (1 + len(text)) for text in responses])

    def compute(self) -> dict[str, Tensor | float]:
        return {"scored": self.scored}

    def reset(self) -> None:
        self.scored = 0


class Recorder(Logger):
    """Keeps the rows that it is given."""

    name, version = "recorder", 0

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[str, float]] = []

    def log_hyperparams(self, *_: Any, **__: Any) -> None: ...

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.rows.append(metrics)


class Stages(Callback):
    """Exchanges parts before a given step, and again when a run is resumed behind it."""

    def __init__(self, step: int, resumable: bool = True, **parts: Any) -> None:
        self.step, self.resumable, self.parts = step, resumable, parts

    def exchange(self, module: Any) -> None:
        for name, part in self.parts.items():
            setattr(module, name, part)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if self.resumable and trainer.global_step > self.step:
            self.exchange(pl_module)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        if trainer.global_step == self.step:
            self.exchange(pl_module)


def brief_sampler() -> GroupSampler:
    return GroupSampler({"few": TeacherSource(2)}, {"brevity": Brevity()})


def test_exchanged_parts_take_effect_at_the_next_step():
    first, later = (Evaluation(num_samples=number, max_new_tokens=4, kl=False) for number in (2, 3))
    module, recorder = make_module(SFTLoss(), evaluation=first), Recorder()
    stages = Stages(2, sampler=brief_sampler(), loss=GFTLoss(), evaluator=Evaluator(later))
    fit(
        module,
        Rows(val_rows=ROWS, batch_size=1),
        callbacks=[stages],
        logger=recorder,
        log_every_n_steps=1,
        val_check_interval=2,
    )
    trained = [row for row in recorder.rows if "train/loss" in row]
    before, after = trained[:2], trained[2:]
    assert len(before) == len(after) == 2
    assert all("train/rewards/score/mean" in row and "train/rewards/brevity/mean" not in row for row in before)
    assert all("train/rewards/brevity/mean" in row and "train/rewards/score/mean" not in row for row in after)
    assert [row["train/rewards/brevity/scored"] for row in after] == [2, 2]
    assert [row["train/rectified_fraction"] == 0 for row in before] == [True, True]  # no coefficient but 1
    measured = [row for row in recorder.rows if "val/greedy_accuracy" in row]
    assert ["val/mean@2" in row for row in measured] == [True, False]
    assert ["val/mean@3" in row for row in measured] == [False, True]


def test_a_fit_with_an_exchange_is_two_fits(tmp_path: Path):
    module, second = make_module(SFTLoss()), make_module(GFTLoss())
    fit(module, Rows(batch_size=1), callbacks=[Stages(2, loss=GFTLoss())])
    first = make_module(SFTLoss())
    fit(first, Rows(batch_size=1), max_steps=2)
    second.configure_model()
    second.policy.load_state_dict(first.policy.state_dict())
    fit(second, Rows(ROWS[2:], batch_size=1))
    torch.testing.assert_close(weights(module), weights(second), rtol=0, atol=0)


def adaptive() -> GFTLoss:
    return GFTLoss(AdaptiveCoefficientRectifier(0.3, momentum=0.5))


def run(tmp_path: Path, *callbacks: Callback, loss: GroupLoss | None = None, ckpt_path: Path | None = None) -> Any:
    module = make_module(loss or SFTLoss(), evaluation=Evaluation(num_samples=2, max_new_tokens=4, kl=False))
    kept = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
    fit(
        module,
        Rows([ROWS[0], *ROWS[:2], ROWS[3]], batch_size=1),
        callbacks=[kept, *callbacks],
        enable_checkpointing=True,
        ckpt_path=ckpt_path and str(ckpt_path),
    )
    return module


def test_a_run_is_resumed_behind_an_exchange_to_the_bit(tmp_path: Path):
    whole = run(tmp_path / "whole", Stages(1, loss=adaptive()))
    resumed = run(tmp_path / "rest", Stages(1, loss=adaptive()), ckpt_path=tmp_path / "whole/step=3.ckpt")
    assert len(resumed.sampler.made) == 1
    assert resumed.loss.rectifier.threshold == whole.loss.rectifier.threshold != 0.7
    assert resumed.loss.rectifier.num_steps == whole.loss.rectifier.num_steps == 3
    torch.testing.assert_close(weights(resumed), weights(whole), rtol=0, atol=0)


class WhenAStepBegins(Stages):
    """Exchanges parts only when a step begins, in a resumed run too."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        pass

    def on_train_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        if trainer.global_step >= self.step:
            self.exchange(pl_module)


def test_one_adaptive_loss_after_another_is_resumed_to_the_bit(tmp_path: Path):
    def first() -> GFTLoss:
        return GFTLoss(AdaptiveCoefficientRectifier(0.1, momentum=0.5))

    whole = run(tmp_path / "whole", WhenAStepBegins(1, loss=adaptive()), loss=first())
    checkpoint = tmp_path / "whole/step=3.ckpt"
    resumed = run(tmp_path / "rest", WhenAStepBegins(1, loss=adaptive()), loss=first(), ckpt_path=checkpoint)
    assert resumed.loss.rectifier.threshold == whole.loss.rectifier.threshold
    assert resumed.loss.rectifier.num_steps == whole.loss.rectifier.num_steps == 3
    torch.testing.assert_close(weights(resumed), weights(whole), rtol=0, atol=0)


class SavesAtOnce(Callback):
    """Writes a checkpoint before the first step."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        trainer.save_checkpoint(self.path)


def test_a_checkpoint_before_the_first_resumed_step_has_the_loss_of_the_one_before(tmp_path: Path):
    run(tmp_path, WhenAStepBegins(1, loss=adaptive()))
    saves = SavesAtOnce(tmp_path / "at once.ckpt")
    run(tmp_path / "rest", WhenAStepBegins(1, loss=adaptive()), saves, ckpt_path=tmp_path / "step=3.ckpt")
    before, at_once = (torch.load(tmp_path / name, weights_only=True) for name in ("step=3.ckpt", "at once.ckpt"))
    assert at_once["lightning_gft"]["parts"] == before["lightning_gft"]["parts"]
    assert at_once["state_dict"].keys() == before["state_dict"].keys()
    torch.testing.assert_close(at_once["state_dict"], before["state_dict"], rtol=0, atol=0)


def test_a_run_is_resumed_before_its_exchange(tmp_path: Path):
    whole = run(tmp_path / "whole", Stages(2, loss=adaptive()))
    resumed = run(tmp_path / "rest", Stages(2, loss=adaptive()), ckpt_path=tmp_path / "whole/step=2.ckpt")
    assert resumed.loss.rectifier.threshold == whole.loss.rectifier.threshold != 0.7
    torch.testing.assert_close(weights(resumed), weights(whole), rtol=0, atol=0)


@pytest.mark.parametrize("exchange", [False, True])
def test_without_its_exchange_a_run_is_refused(exchange: bool, tmp_path: Path):
    run(tmp_path, Stages(1, loss=adaptive()))
    callbacks = [Stages(1, resumable=False, loss=adaptive())] if exchange else []
    with pytest.raises(
        ValueError,
        match=r"^`model.loss`: expected the loss of the checkpoint, GFTLoss\(.*, got SFTLoss\(.*exchanged the loss",
    ) as raised:
        run(tmp_path / "rest", *callbacks, ckpt_path=tmp_path / "step=3.ckpt")
    assert str(raised.value).count("`model.loss`") == 1


def test_another_loss_without_state_is_warned_of(tmp_path: Path):
    run(tmp_path)
    with pytest.warns(UserWarning, match=r"`model.loss`: the run is resumed with DFTLoss\(.*was written with SFTLoss"):
        run(tmp_path / "rest", loss=DFTLoss(), ckpt_path=tmp_path / "step=3.ckpt")


def test_a_checkpoint_knows_which_parts_were_in_use(tmp_path: Path):
    def noted(step: int) -> dict[str, str]:
        content = torch.load(tmp_path / f"step={step}.ckpt", weights_only=True)
        parts: dict[str, str] = content["lightning_gft"]["parts"]
        return parts

    run(tmp_path, Stages(2, sampler=brief_sampler(), loss=GFTLoss()))
    assert noted(2)["loss"].startswith("SFTLoss(")
    assert noted(3)["loss"].startswith("GFTLoss(")
    assert "reward `score`" in noted(2)
    assert "reward `brevity`" in noted(3)
    assert "source `few`" in noted(3)
    assert DigitSum.__name__ in noted(1)["reward `score`"]
