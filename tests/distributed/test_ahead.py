"""Ranks that draw ahead send weights after all of them have drawn, and train like one process."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from lightning_gft import GFTLitModule, GFTLoss, GroupSampler, SelfSource, TeacherSource
from lightning_gft.distributed import wait_for_ranks
from lightning_gft.types import Response
from tests.distributed.launch import run_two_processes
from tests.module.runs import ROWS, DigitSum, Rows, double_loader, fit, sgd, weights
from tests.training.test_ahead import CopyEngine

DATA = [{**ROWS[number % 4], "prompt": f"{number}+{number}="} for number in range(8)]


class OneServer(CopyEngine):
    """Sees the draws of all ranks, like the server that they share; those of rank 1 take longer."""

    def __init__(self, rank: int, folder: Path) -> None:
        super().__init__()
        self._rank, self._folder = rank, folder

    def prepare(self, policy: Any) -> None:
        if self.taken != self.changes:
            assert not [*self._folder.glob("draw-*")], "weights are sent during another rank's draw"
            wait_for_ranks()  # as an engine whose first rank sends weights: no rank draws before they have arrived
        super().prepare(policy)

    def generate_ahead(self, *args: Any) -> list[list[Response]]:
        mark = self._folder / f"draw-{self._rank}"
        mark.touch()
        time.sleep(0.3 * self._rank)
        drawn = super().generate_ahead(*args)
        mark.unlink()
        return drawn


def train(rank: int, folder: str, two: bool, resume: str | None = None) -> tuple[dict[str, Tensor], list[float]]:
    loader = double_loader()
    loader.rollout = OneServer(rank, Path(folder))
    sources = {"own": SelfSource(3, max_new_tokens=6, ahead=1), "teacher": TeacherSource(2)}
    sampler = GroupSampler(sources, {"sum": DigitSum()})
    module = GFTLitModule(loader, sampler, GFTLoss(), optimizer=sgd(0.02), gradient_clip_val=None)
    keep = ModelCheckpoint(Path(folder) / "kept", "{step}", every_n_train_steps=1, save_top_k=-1)
    several = {"strategy": "ddp", "devices": 2} if two else {}
    data = Rows(DATA, batch_size=1 if two else 2)
    arguments: dict[str, Any] = {"callbacks": [keep], "enable_checkpointing": True, **several}
    trainer = fit(module, data, use_distributed_sampler=False, ckpt_path=resume, **arguments)
    stale = [float(trainer.callback_metrics[f"train/sampling/staleness/{name}"]) for name in ("mean", "max")]
    return weights(module), stale


@pytest.mark.filterwarnings("ignore:Using ModelCheckpoint with manual", "ignore:Be aware that when using")
def test_two_ranks_train_and_resume_as_one_process_does(tmp_path: Path):
    folders = [tmp_path / name for name in ("one", "two", "resumed")]
    for folder in folders:
        folder.mkdir()
    expected, stale = train(0, str(folders[0]), two=False)
    assert stale == [1, 1]
    two = run_two_processes(train, str(folders[1]), True)
    for trained, of_rank in two:
        assert of_rank == stale
        for name, weight in expected.items():
            torch.testing.assert_close(trained[name], weight, rtol=0, atol=1e-6)
    resumed = run_two_processes(train, str(folders[2]), True, str(folders[1] / "kept" / "step=2.ckpt"))
    for (before, _), (after, _) in zip(two, resumed, strict=True):
        torch.testing.assert_close(after, before, rtol=0, atol=0)
