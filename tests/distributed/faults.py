"""Parts of a run that fail on one rank only, in the middle of training."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_gft import DynamicCoefficientRectifier, Reward

FAULTY_RANK = 1
FAULTY_STEP = 2


def is_faulty(folder: Path) -> bool:
    """Say whether this rank is the one to fail, and leave its process id in ``folder``."""
    rank = torch.distributed.get_rank()
    (folder / f"rank-{rank}").write_text(str(os.getpid()))
    return rank == FAULTY_RANK


class FaultyReward(Reward):
    """Scores by length until the second step of rank 1.

    Args:
        folder: Where each rank writes its process id when it scores the responses of that step.
        hangs: Whether it then never returns, or raises.
        patience: Seconds that the other rank waits from then on, in place of the strategy's timeout. So starting the
            ranks, whose time depends on the machine, does not count.
        others_hang: Whether the other rank never returns, so that it does not notice the failure, which waits for it.
    """

    def __init__(
        self, folder: str, hangs: bool = False, patience: float | None = None, others_hang: bool = False
    ) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.hangs = hangs
        self.patience = patience
        self.others_hang = others_hang
        self.steps = 0

    def __call__(
        self, *, prompts: Sequence[str], responses: Sequence[str], references: Sequence[Any], **columns: Sequence[Any]
    ) -> Tensor:
        # Before training each row is scored once, to look at the data; a step has several responses to a prompt.
        self.steps += len(prompts) > 2 * len(set(prompts))
        if self.steps == FAULTY_STEP:
            self._fail()
        return torch.tensor([float(len(response) % 3) for response in responses])

    def _fail(self) -> None:
        is_sound = not is_faulty(self.folder)
        if is_sound and not self.others_hang:
            if self.patience is not None:
                torch.distributed.distributed_c10d._set_pg_timeout(timedelta(seconds=self.patience))
        elif is_sound or self.hangs:
            time.sleep(100_000)
        else:
            while self.others_hang and not (self.folder / "rank-0").exists():
                time.sleep(0.01)
            raise KeyError("meant to fail")


class MemoryHungryRectifier(DynamicCoefficientRectifier):
    """Runs out of memory in the second micro-batch of the second step of rank 1.

    Args:
        folder: Where each rank then writes its process id.
        kwargs: Passed on.
    """

    def __init__(self, folder: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.folder = Path(folder)
        self.steps, self.micro_batches = 1, 0

    def rectify(self, logprobs: Tensor) -> Tensor:
        self.micro_batches += 1
        if (self.steps, self.micro_batches) == (FAULTY_STEP, 2) and is_faulty(self.folder):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return super().rectify(logprobs)

    def step(self) -> None:
        super().step()
        self.steps, self.micro_batches = self.steps + 1, 0
