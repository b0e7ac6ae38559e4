"""Parts of a run that fail in one process only, in the middle of training."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_gft import DynamicCoefficientRectifier, Reward

FAULTY_RANK = 1
FAULTY_STEP = 2


def is_faulty(folder: Path) -> bool:
    """Say whether this process is the one to fail, and leave its id in ``folder``."""
    rank = torch.distributed.get_rank()
    (folder / f"rank-{rank}").write_text(str(os.getpid()))
    return rank == FAULTY_RANK


class FaultyReward(Reward):
    """Scores by length until the second step of rank 1.

    Args:
        folder: Where each process writes its id when it scores the responses of that step.
        hangs: Whether it then never returns, or raises.
    """

    def __init__(self, folder: str, hangs: bool = False) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.hangs = hangs
        self.steps = 0

    def __call__(
        self, *, prompts: Sequence[str], responses: Sequence[str], references: Sequence[Any], **columns: Sequence[Any]
    ) -> Tensor:
        # Before training each row is scored once, to look at the data; a step has several responses to a prompt.
        self.steps += len(prompts) > 2 * len(set(prompts))
        if self.steps == FAULTY_STEP and is_faulty(self.folder):
            if not self.hangs:
                raise KeyError("told to fail")
            time.sleep(1000)
        return torch.tensor([float(len(response) % 3) for response in responses])


class MemoryHungryRectifier(DynamicCoefficientRectifier):
    """Runs out of memory in the second micro-batch of the second step of rank 1.

    Args:
        folder: Where each process then writes its id.
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
