"""Figures of parts are those of all ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torchmetrics import MeanMetric

from lightning_gft import GFTLoss, TokenBatch
from tests.distributed.launch import run_two_processes
from tests.module.runs import ROWS, DigitSum, Rows, fit, make_module


class Counting(DigitSum):
    """Counts responses, and on one rank alone what another has none of; a metric of its own averages."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.rank, self.responses = rank, 0
        self.length = MeanMetric()
        self.closed = 0

    def __call__(self, *, responses: Sequence[str], **rest: Any) -> Tensor:
        self.responses += len(responses)
        self.length.update(torch.tensor([float(len(response)) for response in responses]))
        return super().__call__(responses=responses, **rest)

    def compute(self) -> dict[str, Tensor | float]:
        only_here = {"of_rank_1": 1} if self.rank else {}
        return {"responses": self.responses, "length": self.length.compute(), **only_here}

    def reset(self) -> None:
        self.responses = 0
        self.length.reset()

    def close(self) -> None:
        self.closed += 1


class MeanProbability(GFTLoss):
    """Reports the mean probability of the trained tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.probability = MeanMetric()

    def update(self, tokens: TokenBatch, coefficients: Tensor) -> None:
        self.probability.update(tokens.logprobs.exp())

    def compute(self) -> dict[str, Tensor | float]:
        return {"probability": self.probability.compute()}

    def reset(self) -> None:
        self.probability.reset()


def train(rank: int, strategy: str | None = None) -> tuple[dict[str, float], int]:
    """Return figures of one step on four prompts over all ranks, and how often the reward was closed."""
    reward = Counting(rank if strategy else 1)
    module = make_module(MeanProbability(), reward=reward)
    distributed = {"strategy": strategy, "devices": 2} if strategy else {}
    data = Rows(ROWS[:4], batch_size=2 if strategy else 4)
    trainer = fit(module, data, use_distributed_sampler=False, **distributed)
    names = ("rewards/score/responses", "rewards/score/length", "rewards/score/of_rank_1", "probability")
    return {name: trainer.callback_metrics[f"train/{name}"].item() for name in names}, reward.closed


def test_counts_add_up_and_metrics_are_reduced_over_ranks():
    expected, closed = train(0)
    assert closed == 1
    assert expected["rewards/score/responses"] > 8
    for figures, closed in run_two_processes(train, "ddp"):
        assert figures == {name: pytest.approx(value, rel=1e-5) for name, value in expected.items()}
        assert closed == 1
