"""A run in stages: each trains by its own parts and optimizer, ends where it should, and is resumed to the bit."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.optim import SGD
from torch.optim.lr_scheduler import LinearLR

from lightning_gft import (
    DFTLoss,
    ExpertSource,
    GFTLitModule,
    GFTLoss,
    LoRA,
    SFTLoss,
    TeacherSource,
    WarmupSchedule,
)
from lightning_gft.callbacks import Stage, Until
from lightning_gft.evaluation import Evaluator
from lightning_gft.export.card import model_card
from tests.callbacks.stages.runs import (
    SHORT,
    Compared,
    Finished,
    TowardsReference,
    adam,
    adaptive,
    all_kinds,
    checkpoint,
)
from tests.conftest import quick
from tests.module.runs import ROWS, Rows, fit, make_module, weights
from tests.tiny import tiny_loader

pytestmark = pytest.mark.filterwarnings("ignore:Using ModelCheckpoint with manual", "ignore:Be aware that when using")


UNMEASURED = {"limit_val_batches": 0, "save": False}


def same(one: GFTLitModule, other: GFTLitModule) -> bool:
    return all(torch.equal(weight, weights(other)[name]) for name, weight in weights(one).items())


def chained(*fits: tuple[GFTLitModule, list[Any]]) -> GFTLitModule:
    """Return the last module, each fitted on its rows from the weights of the one before."""
    before: GFTLitModule | None = None
    for module, rows in fits:
        module.configure_model()
        if before is not None:
            module.policy.load_state_dict(before.policy.state_dict())
        fit(module, Rows(rows, batch_size=1))
        before = module
    assert before is not None
    return before


def test_stages_are_fits_one_after_another(tmp_path: Path):
    def stages() -> dict[str, Stage]:
        return {
            "sft": Stage(SFTLoss(), {"expert": ExpertSource()}, max_steps=1),
            "gft": Stage(GFTLoss(), optimizer=lambda w: SGD(w, lr=0.1), max_epochs=1),
            "dft": Stage(DFTLoss(), {"two": TeacherSource(4)}, optimizer=adam(0.02), max_steps=2),
        }

    torch.manual_seed(0)
    expected = chained(
        (make_module(SFTLoss(), {"expert": ExpertSource()}, optimizer=adam()), ROWS[:1]),
        (make_module(GFTLoss(), optimizer=lambda w: SGD(w, lr=0.1)), [*ROWS[1:], ROWS[0]]),
        (make_module(DFTLoss(), optimizer=adam(0.02)), ROWS[1:3]),
    )
    staged = Finished(tmp_path, stages, **UNMEASURED)
    assert same(staged.module, expected)
    assert staged.logged("train/stage") == [1, 2, 2, 2, 2, 3, 3]
    assert staged.trainer.global_step == 7


@pytest.mark.parametrize("resets", [False, True])
def test_an_optimizer_stays_with_its_state_or_begins_without(resets: bool, tmp_path: Path):
    def stages() -> dict[str, Stage]:
        return {"one": Stage(max_steps=2), "two": Stage(max_steps=2, reset_optimizer=resets)}

    staged = Finished(tmp_path, stages, **UNMEASURED)
    torch.manual_seed(0)
    at_once = chained((make_module(SFTLoss(), optimizer=adam()), ROWS))
    torch.manual_seed(0)
    anew = chained(*((make_module(SFTLoss(), optimizer=adam()), rows) for rows in (ROWS[:2], ROWS[2:])))
    assert (same(staged.module, at_once), same(staged.module, anew)) == (not resets, resets)
    assert not (tmp_path / "ends").exists()


def test_learning_rates_and_schedules_are_those_of_the_stage(tmp_path: Path):
    def stages() -> dict[str, Stage]:
        return {
            "own": Stage(max_steps=2),
            "rate": Stage(learning_rate=0.4, max_steps=4),
            "both": Stage(lr_scheduler=partial(LinearLR, start_factor=0.5, total_iters=1), max_steps=2),
            "another": Stage(optimizer=lambda w: SGD(w, lr=1.0), max_steps=2),
            "stays": Stage(max_epochs=1),
        }

    module = make_module(SFTLoss(), evaluation=SHORT, optimizer=adam(0.2), lr_scheduler=WarmupSchedule("linear"))
    staged = Finished(tmp_path, stages, module=module, **UNMEASURED)
    expected = [0.2, 0.1, 0.4, 0.3, 0.2, 0.1, 0.1, 0.2, 1.0, 0.5, 1.0, 0.75, 0.5, 0.25]
    assert staged.logged("train/learning_rate") == pytest.approx(expected)
    assert isinstance(staged.trainer.optimizers[0], SGD)


def test_a_stage_does_not_overshoot_its_length_within_a_batch(tmp_path: Path):
    def stages() -> dict[str, Stage]:
        return {"one": Stage(max_steps=3, updates_per_batch=2), "two": Stage(max_steps=1)}

    staged = Finished(tmp_path, stages, limit_val_batches=0)
    assert staged.trainer.global_step == 4
    assert staged.logged("train/stage") == [1, 1, 2]
    assert sorted(path.name for path in (tmp_path / "ends").iterdir()) == ["1-one.ckpt", "2-two.ckpt"]
    assert [checkpoint(path)["global_step"] for path in staged.schedule.paths] == [3, 4]


def test_figures_are_logged_as_always_and_under_the_name_of_the_stage(tmp_path: Path):
    staged = Finished(tmp_path, lambda: {"sft": Stage(max_steps=2), "gft": Stage(GFTLoss(), max_steps=2)})
    for row in staged.rows:
        (stage,) = {name.split("/")[0] for name in row if name.startswith(("sft/", "gft/"))}
        own = {name: value for name, value in row.items() if name.startswith(("train/", "val/"))}
        number = own.pop("train/stage", None)
        assert number in (None, ["sft", "gft"].index(stage) + 1)
        assert {name: row[f"{stage}/{name}"] for name in own} == own
    assert ["sft/val/entropy" in row for row in staged.rows] == [False, False, True, False, False, False]
    assert "gft/val/entropy" in staged.rows[-1]
    assert staged.trainer.callback_metrics["sft/val/entropy"] == staged.rows[2]["val/entropy"]


class Scripted(Evaluator):
    """Measures what it was made with, in turn."""

    def __init__(self, *values: float) -> None:
        super().__init__(SHORT)
        self.values = list(values)

    def finish(self) -> dict[str, dict[str, Tensor]]:
        return {dataset: {**figures, "entropy": torch.tensor(self.values.pop(0))}
                for dataset, figures in super().finish().items()}  # fmt: skip


@pytest.mark.parametrize(
    ("until", "values", "batches"),
    [
        (Until("val/entropy"), [1.0, 2.0, 2.0], 6),
        (Until("val/entropy", min_delta=0.5), [1.0, 1.4, 1.9], 4),
        (Until("val/entropy", "min", patience=2), [1.0, 2.0, 0.5, float("nan"), 3.0], 10),
    ],
)
def test_a_stage_ends_when_its_figure_stops_getting_better(until: Until, values: list[float], batches: int, tmp_path):
    module = make_module(SFTLoss(), evaluation=SHORT)
    module.evaluator = Scripted(*values, *[0.0] * 9)
    stages = {"until": Stage(until=until), "rest": Stage(max_steps=1)}
    staged = Finished(tmp_path, lambda: stages, module=module, save=False)
    assert staged.logged("train/stage") == [1] * batches + [2]


def test_the_last_stage_may_end_by_its_figure(tmp_path: Path):
    module = make_module(SFTLoss(), evaluation=SHORT)
    module.evaluator = Scripted(1.0, 0.0)
    staged = Finished(tmp_path, lambda: {"only": Stage(until=Until("val/entropy"))}, module=module)
    assert staged.trainer.global_step == 4
    assert len(staged.schedule.paths) == 1


RESUMED = ["ends/1-sft", "ends/2-gft", "ends/3-near", "ends/4-again", *(f"kept/step={n}" for n in (1, 2, 4, 6, 8, 9))]


@pytest.mark.parametrize("lora", quick([None, LoRA(r=2)], None))
def test_a_run_is_resumed_to_the_bit_within_stages_and_between_them(lora: LoRA | None, tmp_path: Path):
    def policy() -> Any:
        loader = tiny_loader()
        loader.lora = lora
        return loader

    whole = Finished(tmp_path / "whole", policy=policy())
    end = checkpoint(tmp_path / "whole/ends/4-again.ckpt")
    for name in RESUMED if lora else [RESUMED[0], RESUMED[2], RESUMED[6]]:
        root = tmp_path / name
        resumed = Finished(root, ckpt_path=tmp_path / f"whole/{name}.ckpt", policy=policy())
        assert resumed.rows == whole.rows[len(whole.rows) - len(resumed.rows) :], name
        assert same(resumed.module, whole.module), name
        if (last := root / "ends/4-again.ckpt").exists():
            again = checkpoint(last)
            for part in ("state_dict", "optimizer_states"):
                torch.testing.assert_close(again[part], end[part], rtol=0, atol=0)
            for part in ("lr_schedulers", "lightning_gft", "update_guard"):
                assert again[part] == end[part], f"{name}: {part}"
            assert again["callbacks"]["StageSchedule"] == end["callbacks"]["StageSchedule"]


@pytest.mark.slow
def test_a_finished_run_goes_on_with_a_stage_that_was_added(tmp_path: Path):
    def longer() -> dict[str, Stage]:
        return {**all_kinds(), "more": Stage(GFTLoss(), max_steps=2)}

    whole = Finished(tmp_path / "whole", longer)
    Finished(tmp_path / "first")
    resumed = Finished(tmp_path / "rest", longer, ckpt_path=tmp_path / "first/ends/4-again.ckpt")
    assert same(resumed.module, whole.module)


@pytest.mark.parametrize("reference", ["run", "stage"])
def test_what_losses_compare_with(reference: Any, tmp_path: Path):
    stages = {
        "one": Stage(TowardsReference(), max_steps=2),
        "two": Stage(TowardsReference(), max_steps=1, reference=reference),
    }
    compared = Compared()
    Finished(tmp_path, lambda: stages, callbacks=(compared,), **UNMEASURED)
    assert compared.equal == [True, False, reference == "stage"]


def test_a_loss_of_the_module_begins_anew_in_each_stage(tmp_path: Path):
    module = make_module(adaptive(), evaluation=SHORT)
    between = {"a": Stage(max_steps=3), "b": Stage(SFTLoss(), max_steps=1), "c": Stage(max_steps=2)}
    Finished(tmp_path, lambda: between, module=module, **UNMEASURED)
    assert module.loss.rectifier.num_steps == 2


def test_the_card_and_checkpoints_tell_of_all_stages(tmp_path: Path):
    staged = Finished(tmp_path)
    card = model_card(staged.module)
    assert "| stage `sft` | source `expert`: ExpertSource(" in card
    assert "loss: SFTLoss(reduction='token-mean'); updates per batch: 1; optimizer: AdamW(lr=0.01," in card
    assert "optimizer steps: 2 |" in card
    assert "after training with lightning_gft (DFTLoss)" in card
    assert "| stage | again, 4 of 4 |" in card
    assert "`val/entropy`" in card
    assert "again/val/entropy" not in card  # nor those of other stages
    noted = checkpoint(staged.schedule.paths[1])["lightning_gft"]["parts"]
    assert {"stage `sft`", "stage `gft`"} & noted.keys() == {"stage `sft`"}


@pytest.mark.slow
def test_a_second_fit_begins_with_the_first_stage(tmp_path: Path):
    first = Finished(tmp_path / "a", lambda: {"sft": Stage(max_steps=1), "dft": Stage(DFTLoss(), max_steps=1)})
    assert first.module.rows.stage is None
    assert isinstance(first.module.loss, DFTLoss)
    assert first.trainer.max_steps == -1
    seen = []

    class Sees(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            seen.append(type(pl_module.loss).__name__)

    fit(first.module, Rows(batch_size=1), callbacks=[first.schedule, Sees()], max_epochs=-1)
    assert seen == ["SFTLoss", "DFTLoss"]
    fit(first.module, Rows(batch_size=1), max_steps=1)  # without stages


@pytest.mark.slow
def test_a_trainer_that_ends_before_the_stages_is_warned_of(tmp_path: Path):
    with pytest.warns(UserWarning, match=r"trainer.max_steps=3 ends the run before the stage near is over"):
        staged = Finished(tmp_path, max_steps=3)
    assert [path.name for path in staged.schedule.paths] == ["1-sft.ckpt"]
    epoch = {"one": Stage(max_steps=4), "more": Stage(max_steps=1)}
    with pytest.warns(UserWarning, match=r"trainer.max_epochs=1 ends the run before the stage more is over"):
        Finished(tmp_path, lambda: epoch, max_epochs=1, **UNMEASURED)


@pytest.mark.slow
def test_checkpoints_that_are_there_stay(tmp_path: Path):
    for _ in range(2):
        staged = Finished(tmp_path, lambda: {"sft": Stage(max_steps=1)})
    assert staged.schedule.paths == [tmp_path / "ends/1-sft-v1.ckpt"]
