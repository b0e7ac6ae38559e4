"""A signal ends a draw of own samples early, and a resumed run equals one that was not stopped."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch.optim import AdamW

from lightning_gft import Evaluation, GFTLitModule, GroupSampler, SelfSource, TeacherSource, TransformersEngine
from lightning_gft.checkpoint import check_checkpoint
from lightning_gft.cli.stop_callbacks import KeepAtStop, StopBetweenSteps
from lightning_gft.cli.stopping import StopRequest
from lightning_gft.lm.decoding.shareable import shares_prompts
from tests.cli.command import GFT, wait_until
from tests.conftest import quick
from tests.forking import Command
from tests.module.runs import ROWS, DigitSum, Rows, fit, make_module, make_trainer, weights
from tests.module.test_resuming import Recorder
from tests.terminal import Terminal
from tests.tiny import tiny_loader

pytestmark = pytest.mark.filterwarnings("ignore:Using ModelCheckpoint with manual", "ignore:Be aware that when using")

TOKENS = 6


class StoppingEngine(TransformersEngine):
    """Sends its process a signal before the n-th token of the n-th draw, and counts the tokens drawn since then."""

    def __init__(self, draw: int, token: int = 3, number: int = signal.SIGTERM) -> None:
        super().__init__(max_batch_size=4)
        self.draw, self.token, self.number = draw, token, number
        self.draws = self.since = 0

    def generate(self, model: Any, *args: Any, **settings: Any) -> Any:
        shares_prompts(model)  # tried once, in passes of its own
        self.draws += 1
        passes = 0

        def count(*_: Any) -> None:
            nonlocal passes
            passes += 1
            if (self.draws, passes) == (self.draw, self.token):
                os.kill(os.getpid(), self.number)
            self.since += self.draws == self.draw and passes > self.token

        hook = model.register_forward_pre_hook(count)
        try:
            return super().generate(model, *args, **settings)
        finally:
            hook.remove()


class AllEqual(DigitSum):
    """Gives all responses to the first prompt the same reward."""

    def __call__(self, *, prompts: Any, responses: Any, references: Any, **columns: Any) -> torch.Tensor:
        scores = super().__call__(prompts=prompts, responses=responses, references=references, **columns)
        return scores * torch.tensor([prompt != ROWS[0]["prompt"] for prompt in prompts])


def module(engine: TransformersEngine | None = None, num_groups: int | None = None) -> GFTLitModule:
    loader = tiny_loader()
    loader.rollout = engine or TransformersEngine(max_batch_size=4)
    sources = {"own": SelfSource(3, max_new_tokens=TOKENS), "teacher": TeacherSource(2)}
    made = make_module(
        policy=loader,
        optimizer=lambda parameters: AdamW(parameters, lr=0.05),
        evaluation=Evaluation(num_samples=2, max_new_tokens=TOKENS),
    )
    made.sampler = GroupSampler(sources, {"score": AllEqual() if num_groups else DigitSum()}, num_groups=num_groups)
    return made


class Data(Rows):
    """Two rows a batch, of which both train and validate."""

    def __init__(self) -> None:
        super().__init__(ROWS, ROWS, batch_size=2)
        self.eval_batch_size = 2


def run(root: Path, trained: GFTLitModule, *callbacks: Callback, **settings: Any) -> tuple[list[Any], Any]:
    """Return the rows of a run and its exit status, ``None`` if it was not stopped."""
    recorder, status = Recorder(), None
    keep = ModelCheckpoint(root / "kept", every_n_train_steps=100)
    settings = {"max_epochs": 2, "val_check_interval": 2, "log_every_n_steps": 1, "default_root_dir": root, **settings}
    try:
        fit(trained, Data(), callbacks=[*callbacks, keep], logger=recorder, enable_checkpointing=True, **settings)
    except SystemExit as end:
        status = end.code
    return recorder.rows, status


# A step makes one draw; a batch of validation makes one of the policy and in the first validation one of the start.
STEPS = {"the first step": (1, 0), "the second step": (2, 1), "a validation": (5, 2), "the second epoch": (8, 3)}


@pytest.mark.parametrize("where", quick(STEPS, "the first step", "a validation"))
def test_a_draw_is_abandoned(where: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    draw, step = STEPS[where]
    engine, request = StoppingEngine(draw), StopRequest()
    with request.listening():
        before, status = run(tmp_path / "stopped", module(engine), StopBetweenSteps(request), KeepAtStop())
    assert status == 128 + signal.SIGTERM
    assert engine.since == 0  # no token after the signal's own
    assert "Stopping as soon as this step can end; once more to stop at once" in capfd.readouterr().err
    (path,) = tmp_path.glob("stopped/checkpoints/stopped-*.ckpt")
    assert path.name == f"stopped-step={step}.ckpt"
    resumed, whole = module(), module()
    after, _ = run(tmp_path / "resumed", resumed, ckpt_path=str(path))
    expected, _ = run(tmp_path / "whole", whole)
    assert before + after == expected  # none is lost, none is there twice
    torch.testing.assert_close(weights(resumed), weights(whole), rtol=0, atol=0)


def test_a_later_round_of_dynamic_sampling_is_abandoned(tmp_path: Path):
    settings = {"max_epochs": 1, "limit_val_batches": 0}

    def train(name: str, trained: GFTLitModule, *callbacks: Callback, **arguments: Any) -> None:
        fit(
            trained,
            Rows(ROWS, batch_size=4),
            callbacks=[*callbacks, ModelCheckpoint(tmp_path / "kept", every_n_train_steps=100)],
            default_root_dir=tmp_path / name,
            enable_checkpointing=True,
            **settings,
            **arguments,
        )

    engine, request = StoppingEngine(draw=2), StopRequest()
    with pytest.raises(SystemExit), request.listening():
        train("stopped", module(engine, num_groups=2), StopBetweenSteps(request), KeepAtStop())
    assert engine.draws == 2
    (path,) = tmp_path.glob("stopped/checkpoints/stopped-step=0.ckpt")
    resumed, whole = module(num_groups=2), module(num_groups=2)
    train("resumed", resumed, ckpt_path=str(path))
    train("whole", whole)
    torch.testing.assert_close(weights(resumed), weights(whole), rtol=0, atol=0)


def test_a_callback_that_draws_after_a_step_is_not_interrupted(tmp_path: Path):
    class Draws(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: GFTLitModule, *_: Any) -> None:
            drawn.append(pl_module.policy.generate([[5, 6]], 2, pl_module.sampler.sources["own"].sampling, 0))

    drawn: list[Any] = []
    engine, request = StoppingEngine(draw=2, token=1), StopRequest()
    with request.listening():
        _, status = run(tmp_path, module(engine), Draws(), StopBetweenSteps(request), KeepAtStop())
    assert (len(drawn), status) == (1, 128 + signal.SIGTERM)
    assert [*tmp_path.glob("checkpoints/stopped-step=1.ckpt")]


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_a_draw_of_another_subcommand_is_abandoned(stage: str, caplog: pytest.LogCaptureFixture):
    engine, request = StoppingEngine(draw=2), StopRequest()
    trainer = make_trainer(callbacks=[StopBetweenSteps(request), KeepAtStop()])
    rows = Data()
    rows.load_rows = lambda split: {"": ROWS}  # type: ignore[method-assign]
    with pytest.raises(SystemExit) as end, request.listening():
        getattr(trainer, stage)(module(engine), datamodule=rows)
    assert end.value.code == 128 + signal.SIGTERM
    assert (engine.draws, engine.since) == (2, 0)
    says_last = caplog.messages[-1].endswith("is incomplete and has no figures; the same command repeats it")
    assert says_last == (stage != "predict")  # there the callback that writes groups does


NOTED = """
import os, pathlib
from lightning_gft import TransformersEngine
class Noted(TransformersEngine):
    def generate(self, *args, **settings):
        pathlib.Path(os.environ["NOTE"]).touch()
        return super().generate(*args, **settings)
"""


@pytest.mark.parametrize("asked", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_step_of_far_too_many_samples_ends_at_the_first_signal_and_says_last_how_to_resume(
    asked: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "noted.py").write_text(NOTED)
    monkeypatch.setenv("NOTE", str(tmp_path / "drawing"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    terminal = Terminal()
    process = Command(
        *("fit", "--config", GFT, "--trainer.enable_checkpointing=true", "--trainer.max_steps=3"),
        *("--model.sampler.sources.self.init_args.num_generations=100000", "--model.policy.rollout=noted.Noted"),
        f"--trainer.default_root_dir={tmp_path}",
        stdout=terminal.path,
        stderr=terminal.path,
    )
    wait_until((tmp_path / "drawing").exists, process)
    process.send_signal(asked)
    assert process.wait() == 128 + asked
    (path,) = tmp_path.glob("lightning_logs/version_0/checkpoints/stopped-step=0.ckpt")
    check_checkpoint(path)
    shown = terminal.lines()
    assert any(re.match(r"Training +━+ +0/3", line) for line in shown)
    assert shown[-1] == f"Stopped; resume by --ckpt_path={path}"  # below the bar, and in one piece
