"""Ranks abandon a draw together, also if only one of them gets the signal, and resume as if they had not."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from lightning_gft import (
    GFTLitModule,
    GFTLoss,
    GroupNormalizedAdvantage,
    GroupSampler,
    SelfSource,
    TeacherSource,
    TransformersEngine,
)
from lightning_gft.cli.stopping import StopBetweenSteps, StopRequest
from tests.cli.test_stop_sampling import StoppingEngine
from tests.distributed.launch import run_two_processes
from tests.module.runs import ROWS, DigitSum, Rows, double_loader, fit, sgd, weights

NEVER = 99


def train(
    rank: int, folder: str, strategy: str, stop_at: tuple[int, int], resume: str | None = None
) -> tuple[Any, list[str], dict[str, Tensor]]:
    """Return the exit status, the checkpoints of a stop and the weights; ``stop_at`` has a draw for each rank."""
    loader = double_loader()
    engine = loader.rollout = StoppingEngine(stop_at[rank])
    assert isinstance(engine, TransformersEngine)
    sources = {"own": SelfSource(3, max_new_tokens=6), "teacher": TeacherSource(2)}
    # Its estimate is a collective, which a rank that abandons its draw does not come to.
    sampler = GroupSampler(sources, {"sum": DigitSum()}, GroupNormalizedAdvantage(scale="batch"))
    module = GFTLitModule(loader, sampler, GFTLoss(), optimizer=sgd(0.02), gradient_clip_val=None)
    request = StopRequest()
    callbacks = [StopBetweenSteps(request), ModelCheckpoint(Path(folder) / "kept", every_n_train_steps=100)]
    status = None
    try:
        with request.listening():
            fit(
                module,
                Rows(ROWS, batch_size=1),
                callbacks=callbacks,
                default_root_dir=folder,
                enable_checkpointing=True,
                max_epochs=2,
                strategy=strategy,
                devices=2,
                use_distributed_sampler=False,
                ckpt_path=resume,
            )
    except SystemExit as end:
        status = end.code
    kept = sorted(str(path) for path in Path(folder).glob("checkpoints/stopped-*.ckpt"))
    return status, kept, {} if status else weights(module)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Using ModelCheckpoint with manual", "ignore:Be aware that when using")
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.parametrize("stop_at", [(2, 2), (NEVER, 2)], ids=["both", "one"])
def test_ranks_abandon_a_draw_together(strategy: str, stop_at: tuple[int, int], tmp_path: Path):
    stopped = run_two_processes(train, str(tmp_path / "stopped"), strategy, stop_at)
    assert [status for status, *_ in stopped] == [128 + signal.SIGTERM] * 2
    (path,) = stopped[0][1]
    assert path.endswith("stopped-step=1.ckpt")
    resumed = run_two_processes(train, str(tmp_path / "resumed"), strategy, (NEVER, NEVER), path)
    whole = run_two_processes(train, str(tmp_path / "whole"), strategy, (NEVER, NEVER))
    for (_, _, after), (_, _, expected) in zip(resumed, whole, strict=True):
        torch.testing.assert_close(after, expected, rtol=0, atol=0)
