"""Ranks abandon a draw together, also if only one of them gets the signal, and resume as if they had not."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import Tensor

from lightning_gft import (
    GFTLitModule,
    GFTLoss,
    GroupNormalizedAdvantage,
    GroupSampler,
    SelfSource,
    TeacherSource,
)
from lightning_gft.cli.stop_callbacks import KeepAtStop, StopBetweenSteps
from lightning_gft.cli.stopping import StopRequest
from lightning_gft.rollout import RolloutEngine
from lightning_gft.waiting import check_wait
from tests.cli.test_stop_sampling import AllEqual, StoppingEngine
from tests.distributed.launch import run_two_processes
from tests.module.runs import ROWS, DigitSum, Rows, double_loader, fit, sgd, weights
from tests.training.test_ahead import CopyEngine

NEVER = 99
STOPPED = 128 + signal.SIGTERM

pytestmark = pytest.mark.filterwarnings("ignore:Using ModelCheckpoint with manual", "ignore:Be aware that when using")


def ask_and_wait() -> None:
    """Ask this process to stop, then wait as for a server that does not reply."""
    os.kill(os.getpid(), signal.SIGTERM)
    while True:
        check_wait()
        time.sleep(0.01)


class WaitingEngine(StoppingEngine):
    """Waits for a server in the n-th draw."""

    def generate(self, model: Any, *args: Any, **settings: Any) -> Any:
        if self.draws + 1 == self.draw:
            ask_and_wait()
        return super().generate(model, *args, **settings)


class AheadEngine(CopyEngine):
    """Waits for a server in the n-th draw ahead."""

    def __init__(self, draw: int) -> None:
        super().__init__()
        self.draw = draw
        self.before = self._wait

    @property
    def draws(self) -> int:
        return self.calls

    def _wait(self, number: int) -> None:
        if number == self.draw:
            ask_and_wait()


class AskingReward(DigitSum):
    """Asks its process to stop when it scores next, if ``asks`` is set."""

    asks = False

    def __call__(self, **columns: Any) -> Tensor:
        if self.asks:
            self.asks = False
            os.kill(os.getpid(), signal.SIGTERM)
        return super().__call__(**columns)


class AskWhileScoring(Callback):
    """Makes a reward ask its process to stop in a step; before training, rewards score too."""

    def __init__(self, reward: AskingReward, step: int) -> None:
        self.reward, self.step = reward, step

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self.reward.asks = trainer.global_step + 1 == self.step


@dataclass
class Setting:
    """What a run has beside its sources: where each rank gets a signal, and where that takes effect."""

    stop_at: tuple[int, int] = (NEVER, NEVER)
    """Draw, or step that is scored, of each rank at which it gets a signal."""
    engine: type[StoppingEngine] | type[AheadEngine] = StoppingEngine
    while_scoring: bool = False
    num_groups: int | None = None
    ahead: int = 0
    strategy: str = "ddp"


class Ended(NamedTuple):
    """How a run ended on one rank."""

    status: Any
    checkpoints: list[str]
    weights: dict[str, Tensor]
    draws: int


def train(rank: int, folder: str, setting: Setting, resume: str | None = None) -> Ended:
    loader, stop_at = double_loader(), setting.stop_at[rank]
    engine = setting.engine(NEVER if setting.while_scoring else stop_at)
    assert isinstance(engine, RolloutEngine)
    loader.rollout = engine
    sources = {"own": SelfSource(3, max_new_tokens=6, ahead=setting.ahead), "teacher": TeacherSource(2)}
    reward: Any = AllEqual() if setting.num_groups else AskingReward()
    # Its estimate is a collective, which a rank that abandons its draw does not come to.
    advantage = GroupNormalizedAdvantage(scale="batch")
    sampler = GroupSampler(sources, {"sum": reward}, advantage, num_groups=setting.num_groups)
    module = GFTLitModule(loader, sampler, GFTLoss(), optimizer=sgd(0.02), gradient_clip_val=None)
    request = StopRequest()
    callbacks: list[Callback] = [
        StopBetweenSteps(request),
        KeepAtStop(),
        ModelCheckpoint(Path(folder) / "kept", every_n_train_steps=100),
    ]
    if setting.while_scoring:
        callbacks.append(AskWhileScoring(reward, stop_at))
    status = None
    try:
        with request.listening():
            fit(
                module,
                Rows(ROWS, batch_size=2 if setting.num_groups else 1),
                callbacks=callbacks,
                default_root_dir=folder,
                enable_checkpointing=True,
                max_epochs=2,
                strategy=setting.strategy,
                devices=2,
                use_distributed_sampler=False,
                ckpt_path=resume,
            )
    except SystemExit as end:
        status = end.code
    kept = sorted(str(path) for path in Path(folder).glob("checkpoints/stopped-*.ckpt"))
    return Ended(status, kept, {} if status else weights(module), engine.draws)


def stopped(folder: Path, setting: Setting, step: int) -> tuple[str, list[int]]:
    """Return the checkpoint of a stopped run and the draws that each rank began."""
    ranks = run_two_processes(train, str(folder), setting)
    assert [ended.status for ended in ranks] == [STOPPED] * 2
    (path,) = ranks[0].checkpoints
    assert path.endswith(f"stopped-step={step}.ckpt")
    return path, [ended.draws for ended in ranks]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.parametrize("stop_at", [(2, 2), (NEVER, 2)], ids=["both", "one"])
def test_ranks_abandon_a_draw_together(strategy: str, stop_at: tuple[int, int], tmp_path: Path):
    path, _ = stopped(tmp_path / "stopped", Setting(stop_at, strategy=strategy), step=1)
    resumed = run_two_processes(train, str(tmp_path / "resumed"), Setting(strategy=strategy), path)
    whole = run_two_processes(train, str(tmp_path / "whole"), Setting(strategy=strategy))
    for after, expected in zip(resumed, whole, strict=True):
        torch.testing.assert_close(after.weights, expected.weights, rtol=0, atol=0)


def test_a_wait_for_a_server_ends_on_both_ranks(tmp_path: Path):
    stopped(tmp_path, Setting((2, NEVER), WaitingEngine), step=1)


@pytest.mark.slow
def test_a_rank_abandons_its_second_round_while_the_other_has_all_responses(tmp_path: Path):
    _, draws = stopped(tmp_path, Setting((2, 2), num_groups=1), step=0)
    assert sorted(draws) == [1, 2]


@pytest.mark.slow
def test_a_step_that_is_scored_is_finished(tmp_path: Path):
    stopped(tmp_path, Setting((2, NEVER), while_scoring=True), step=2)


@pytest.mark.slow
def test_a_wait_for_a_draw_ahead_ends_on_both_ranks(tmp_path: Path):
    path, _ = stopped(tmp_path / "stopped", Setting((2, NEVER), AheadEngine, ahead=1), step=1)
    one, other = run_two_processes(train, str(tmp_path / "resumed"), Setting(engine=AheadEngine, ahead=1), path)
    assert (one.status, other.status) == (None, None)
    torch.testing.assert_close(one.weights, other.weights, rtol=0, atol=0)
