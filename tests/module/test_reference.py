"""A run whose reference is moved on the way: figures, checkpoints, and what is kept in memory."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.optim import AdamW

from lightning_gft import Evaluation, GFTLitModule, GFTLoss, KLPenalty, LoRA, PretrainedPolicy, Quantization
from tests.conftest import quick
from tests.module.runs import ROWS, Rows, fit, make_module, make_trainer, weights
from tests.tiny import tiny_loader, tiny_policy

pytestmark = pytest.mark.filterwarnings("ignore:Using ModelCheckpoint with manual", "ignore:Be aware that when using")

MOVED = "policy.moved_reference."


class MovesReference(Callback):
    """Moves the reference when some optimizer steps have been taken."""

    def __init__(self, *steps: int, reset: int | None = None) -> None:
        self.steps, self.reset = steps, reset
        self.seen: list[float] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step in self.steps:
            pl_module.policy.move_reference()
        if trainer.global_step == self.reset:
            pl_module.policy.reset_reference()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.seen.append(float(trainer.callback_metrics["train/kl"]))


def penalised(policy: Any = None, kl: bool = True, **settings: Any) -> GFTLitModule:
    return make_module(
        KLPenalty(GFTLoss(), beta=0.5),
        policy=policy,
        optimizer=lambda parameters: AdamW(parameters, lr=0.01),
        evaluation=Evaluation(num_samples=2, max_new_tokens=4, kl=kl),
        **settings,
    )


def loader(kind: str, folder: Path) -> Any:
    if kind == "full":
        return tiny_loader()
    if not (folder / "base").exists():
        tiny_policy(hidden_size=64, intermediate_size=128).save_pretrained(folder / "base")
    quantization = Quantization() if kind == "4 bits" else None
    lora = LoRA(r=2, modules_to_save=["norm"] if kind == "saved" else None)
    return PretrainedPolicy(str(folder / "base"), lora=lora, quantization=quantization)


def test_the_divergence_from_it_is_0_right_after_the_move():
    moves = MovesReference(2, reset=5)
    fit(penalised(kl=False), Rows(ROWS, batch_size=1), callbacks=[moves], max_epochs=2)
    assert [value == 0 for value in moves.seen] == [step in (0, 2) for step in range(8)]


def test_evaluation_measures_from_the_start_whatever_the_reference_is():
    figures = []
    for steps in ((), (0, 1, 2, 3, 4, 5, 6, 7)):
        module = make_module(evaluation=Evaluation(num_samples=2, max_new_tokens=4))

        class Moves(MovesReference):
            def on_train_batch_end(self, *_: Any) -> None:
                pass

        trainer = fit(module, Rows(ROWS, ROWS[:2], batch_size=1), callbacks=[Moves(*steps)], max_epochs=2)
        figures.append(float(trainer.callback_metrics["val/kl"]))
    assert figures[0] == figures[1] > 0


KINDS = ["full", "lora", "saved", "4 bits"]


@pytest.mark.parametrize("case", quick(product(KINDS, [2, 4]), ("full", 2), ("full", 4), ("4 bits", 4)))
def test_it_is_resumed_to_the_bit(case: tuple[str, int], tmp_path: Path):
    """The reference moves after 2 steps: a checkpoint of then is older than the move, that after 4 holds it."""
    kind, stop = case
    data = Rows(ROWS, ROWS[:2], batch_size=1)
    keep = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=2, save_top_k=-1)
    whole, moves = penalised(loader(kind, tmp_path)), MovesReference(2)
    trainer = fit(whole, data, callbacks=[moves, keep], enable_checkpointing=True, max_epochs=2)
    state = torch.load(tmp_path / f"step={stop}.ckpt", weights_only=True)["state_dict"]
    kept = {name.removeprefix(MOVED): value for name, value in state.items() if name.startswith(MOVED)}
    trained = {name for name, weight in whole.policy.model.named_parameters() if weight.requires_grad}
    assert set(kept) == (trained if stop > 2 else set())

    resumed, again = penalised(loader(kind, tmp_path)), MovesReference(2)
    path = str(tmp_path / f"step={stop}.ckpt")
    later = fit(resumed, data, callbacks=[again], ckpt_path=path, max_epochs=2)
    torch.testing.assert_close(weights(resumed), weights(whole), rtol=0, atol=0)
    assert again.seen == moves.seen[stop:]
    torch.testing.assert_close(resumed.policy.references.state(), whole.policy.references.state(), rtol=0, atol=0)
    assert later.callback_metrics["val/kl"] == trainer.callback_metrics["val/kl"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("moved") / "end.ckpt"
    fit(penalised(), callbacks=[MovesReference(0)]).save_checkpoint(path)
    assert any(name.startswith(MOVED) for name in torch.load(path, weights_only=True)["state_dict"])
    return path


def test_a_checkpoint_with_one_is_validated_and_loaded_without_a_copy(checkpoint: Path):
    module = penalised()
    torch.manual_seed(0)
    trainer = make_trainer()
    (figures,) = trainer.validate(module, Rows(ROWS, ROWS[:2]), ckpt_path=str(checkpoint), verbose=False)
    assert figures["val/kl"] > 0
    torch.manual_seed(0)
    parts = {"policy": tiny_loader(), "sampler": module.sampler, "loss": module.loss}
    loaded = GFTLitModule.load_from_checkpoint(checkpoint, **parts)
    saved = torch.load(checkpoint, weights_only=True)["state_dict"]
    for other in (module, loaded):
        assert torch.equal(other.policy.model.lm_head.weight, saved["policy.model.lm_head.weight"])
        assert other.policy.references.state() == {}


def test_a_checkpoint_without_one_is_resumed_without(checkpoint: Path, tmp_path: Path):
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict"] = {name: value for name, value in content["state_dict"].items() if MOVED not in name}
    torch.save(content, tmp_path / "unmoved.ckpt")
    module = penalised()
    fit(module, callbacks=[MovesReference(0)])
    assert module.policy.references.state()
    fit(module, ckpt_path=str(tmp_path / "unmoved.ckpt"), max_epochs=2)
    assert module.policy.references.state() == {}


def test_one_of_another_model_is_refused(checkpoint: Path, tmp_path: Path):
    content = torch.load(checkpoint, weights_only=True)
    name = f"{MOVED}model.norm.weight"
    content["state_dict"][name] = content["state_dict"][name][:-1]
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match=r"the checkpoint's moved reference: expected .*, model\.norm\.weight for one"):
        fit(penalised(), ckpt_path=str(tmp_path / "other.ckpt"), max_epochs=2)


class NeedsLater(Callback):
    """Exchanges the loss for one that needs a reference, and may say so when it is set up."""

    def __init__(self, declares: bool) -> None:
        self.declares = declares

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        pl_module.needs_reference = self.declares or None

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        pl_module.loss = KLPenalty(GFTLoss())


@pytest.mark.parametrize(
    ("evaluation", "loss", "callback", "kept"),
    [
        (False, False, None, False),
        (True, False, None, True),
        (False, True, None, True),
        (False, False, True, True),
        (False, True, False, False),
        (True, True, False, True),
    ],
)
def test_a_copy_of_the_start_is_kept_where_it_is_needed(evaluation: bool, loss: bool, callback: Any, kept: bool):
    objective = KLPenalty(GFTLoss()) if loss else GFTLoss()
    module = make_module(objective, evaluation=Evaluation(num_samples=2, max_new_tokens=16, kl=evaluation))
    module.needs_reference = callback
    module.configure_model()
    assert module.keeps_reference == kept == (module.policy.reference_model is not None)


def test_a_loss_to_come_is_known_of_early_or_fails_in_one_line():
    module = make_module(evaluation=Evaluation(max_new_tokens=16, kl=False))
    fit(module, callbacks=[NeedsLater(True)])
    assert module.policy.reference_model is not None
    silent = make_module(evaluation=Evaluation(max_new_tokens=16, kl=False))
    with pytest.raises(RuntimeError, match=r"`keep_reference`: expected True.*needs_reference in a callback's setup"):
        fit(silent, callbacks=[NeedsLater(False)])
    with pytest.raises(RuntimeError, match="`keep_reference`: expected True"):
        make_trainer(callbacks=[NeedsLater(True)]).fit(silent, Rows())  # which was loaded without
