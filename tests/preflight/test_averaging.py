"""Lightning's averages of weights: of those that train, in checkpoints, in validation and in what is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, ModelCheckpoint, WeightAveraging
from torch import Tensor
from transformers import AutoModelForCausalLM

from lightning_gft import Evaluation, LoRA, ScratchPolicy, TransformersEngine
from lightning_gft.callbacks import HuggingFaceExport
from tests.module.runs import ROWS, Rows, fit, make_module, weights
from tests.tiny import tiny_loader

DATA = {"batch_size": 1}
SHORT = Evaluation(num_samples=2, max_new_tokens=4)


def with_adapters(lora: LoRA | None) -> ScratchPolicy:
    loader = tiny_loader()
    loader.lora = lora
    return loader


class Trace(Callback):
    """Remembers the weights after each batch, and those that a validation measures."""

    def __init__(self) -> None:
        self.after: list[dict[str, Tensor]] = []
        self.measured: list[dict[str, Tensor]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.after.append(weights(pl_module))

    def on_validation_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.measured.append(weights(pl_module))


class Noting(TransformersEngine):
    """Counts how often the weights have changed."""

    changes = 0

    def weights_changed(self) -> None:
        self.changes += 1


def average(trace: list[dict[str, Tensor]], decay: float | None = 0.5) -> dict[str, Tensor]:
    """Return the average of weights by its definition; ``None`` for equal shares."""
    result = trace[0]
    for number, later in enumerate(trace[1:], start=1):
        share = 1 - decay if decay is not None else 1 / (number + 1)
        result = {name: (1 - share) * value + share * later[name] for name, value in result.items()}
    return result


@pytest.mark.parametrize(("callback", "decay"), [(lambda: EMAWeightAveraging(decay=0.5), 0.5), (WeightAveraging, None)])
def test_weights_in_the_end_and_in_validation_are_the_averages(callback: Any, decay: float | None):
    loader, engine, trace = tiny_loader(), Noting(), Trace()
    loader.rollout = engine
    module = make_module(policy=loader, evaluation=SHORT)
    fit(module, Rows(val_rows=ROWS, **DATA), callbacks=[trace, callback()], val_check_interval=2)
    assert len(trace.after) == 4
    torch.testing.assert_close(weights(module), average(trace.after, decay))
    torch.testing.assert_close(trace.measured[0], average(trace.after[:2], decay))
    moved = max((trace.after[-1][name] - value).abs().max() for name, value in weights(module).items())
    assert moved > 1e-3
    # Four steps, two validations that begin and end, and the end of training; the first validation draws from the
    # starting policy, too.
    assert engine.changes == 4 + 2 * 2 + 1 + 2
    plain = Trace()
    fit(make_module(evaluation=SHORT), Rows(**DATA), callbacks=[plain])
    torch.testing.assert_close(trace.after, plain.after)  # averaging does not change the training


@pytest.mark.parametrize("first", [True, False])
def test_what_is_written_is_the_average_in_any_order_of_callbacks(first: bool, tmp_path: Path):
    export, averaging, trace = HuggingFaceExport(str(tmp_path / "policy")), EMAWeightAveraging(decay=0.5), Trace()
    callbacks = [averaging, trace, export] if first else [export, trace, averaging]
    fit(make_module(), Rows(**DATA), callbacks=callbacks)
    written = dict(AutoModelForCausalLM.from_pretrained(tmp_path / "policy").named_parameters())
    torch.testing.assert_close(written, average(trace.after), check_device=False)


@pytest.mark.parametrize("lora", [None, LoRA(r=2)])
def test_a_run_goes_on_with_its_averages(lora: LoRA | None, tmp_path: Path):
    def run(max_steps: int, **arguments: Any) -> Any:
        kept = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
        module = make_module(policy=with_adapters(lora), evaluation=SHORT)
        fit(
            module,
            Rows(**DATA),
            callbacks=[EMAWeightAveraging(decay=0.5), kept],
            max_steps=max_steps,
            enable_checkpointing=True,
            **arguments,
        )
        return module

    whole = weights(run(4))
    saved = torch.load(tmp_path / "step=2.ckpt", weights_only=True)
    trained = {name for name, weight in run(2).named_parameters(remove_duplicate=False) if weight.requires_grad}
    assert set(saved["current_model_state"]) == trained
    assert not {name for name in saved["state_dict"] if "reference" in name}
    torch.testing.assert_close(weights(run(4, ckpt_path=str(tmp_path / "step=2.ckpt"))), whole, rtol=0, atol=0)


class Saves(Callback):
    """Writes a checkpoint within a validation, as a run does that is stopped there."""

    def __init__(self, path: Path, interrupt: bool = False) -> None:
        self.path, self.interrupt = path, interrupt

    def on_validation_batch_end(self, trainer: Any, *_: Any) -> None:
        trainer.save_checkpoint(self.path)
        if self.interrupt:
            raise ValueError("stop here")


@pytest.mark.parametrize("when", ["in a validation", "after training"])
def test_a_checkpoint_written_while_the_module_holds_averages_resumes_from_its_own_weights(when: str, tmp_path: Path):
    path, data = tmp_path / "stopped.ckpt", Rows(val_rows=ROWS[:1], **DATA)

    def run(*callbacks: Callback, **arguments: Any) -> tuple[Trace, Any]:
        trace, module = Trace(), make_module(evaluation=SHORT)
        callbacks = (trace, EMAWeightAveraging(decay=0.5), *callbacks)
        trainer = fit(module, data, callbacks=list(callbacks), val_check_interval=2, **arguments)
        return trace, trainer

    whole, _ = run(max_steps=4)
    _, trainer = run(*([Saves(path)] if when == "in a validation" else []), max_steps=2)
    if when == "after training":
        trainer.save_checkpoint(path)
    rest, _ = run(max_steps=4, ckpt_path=str(path))
    torch.testing.assert_close(rest.after, whole.after[2:], rtol=0, atol=0)


def test_an_interrupted_validation_leaves_the_module_its_own_weights(tmp_path: Path):
    trace, module = Trace(), make_module(evaluation=SHORT)
    with pytest.raises(ValueError, match="stop here"):
        fit(
            module,
            Rows(val_rows=ROWS, **DATA),
            callbacks=[trace, EMAWeightAveraging(decay=0.5), Saves(tmp_path / "a.ckpt", interrupt=True)],
            val_check_interval=2,
        )
    torch.testing.assert_close(weights(module), trace.after[-1], rtol=0, atol=0)


def test_a_checkpoint_holds_the_averages_to_be_measured_or_loaded(tmp_path: Path):
    trace, path = Trace(), tmp_path / "last.ckpt"
    without = Evaluation(num_samples=2, max_new_tokens=4, kl=False)  # a reference would be drawn anew
    module = make_module(evaluation=without)
    fit(module, Rows(**DATA), callbacks=[trace, EMAWeightAveraging(decay=0.5)]).save_checkpoint(path)
    other = make_module(evaluation=without)
    other.run.load_weights(path)
    torch.testing.assert_close(weights(other), average(trace.after))


def test_half_precision_is_averaged_in_single(tmp_path: Path):
    averaging = EMAWeightAveraging(decay=0.999)
    fit(make_module(), Rows(**DATA), callbacks=[averaging], precision="bf16-true")
    assert averaging._average_model is not None
    assert {weight.dtype for weight in averaging._average_model.module.parameters()} == {torch.float32}


def test_averages_that_never_began_do_not_undo_the_training():
    module = make_module()
    with pytest.warns(UserWarning, match="EMAWeightAveraging has averaged no weights"):
        fit(module, Rows(**DATA), callbacks=[EMAWeightAveraging(update_starting_at_step=100)])
    plain = make_module()
    fit(plain, Rows(**DATA))
    torch.testing.assert_close(weights(module), weights(plain), rtol=0, atol=0)
