"""Statistics of ratios, and the shares of tokens that masks pick out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lightning_gft.metrics import RatioStatistics

NAMES = ("clip_ratio/low_mean", "clip_ratio/high_mean")


def draw(number: int = 30) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(number)
    logratio = torch.randn(number, generator=generator)
    return logratio, logratio < -0.5, logratio > 0.7


def figures(statistics: RatioStatistics) -> dict[str, float]:
    return {name: value.item() for name, value in statistics.compute().items()}


def expected(*batches: tuple[Tensor, Tensor, Tensor]) -> dict[str, float]:
    ratios = [math.exp(value) for logratio, _, _ in batches for value in logratio.tolist()]
    low, high = (sum(int(batch[side].sum()) for batch in batches) / len(ratios) for side in (1, 2))
    return {"ratio_mean": sum(ratios) / len(ratios), "ratio_max": max(ratios), NAMES[0]: low, NAMES[1]: high}


def test_against_plain_python_over_several_updates():
    statistics, batches = RatioStatistics(NAMES), (draw(), draw(1), draw(50))
    for batch in batches:
        statistics.update(*batch)
    statistics.update(*(value[:0] for value in draw()))  # a rank whose micro-batch is empty
    assert figures(statistics) == pytest.approx(expected(*batches))
    statistics.reset()
    statistics.update(*draw(7))
    assert figures(statistics) == pytest.approx(expected(draw(7)))


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
def test_nothing_counted_gives_zeros():
    assert set(figures(RatioStatistics(NAMES)).values()) == {0.0}
    assert figures(RatioStatistics()) == {"ratio_mean": 0.0, "ratio_max": 0.0}


def test_counts_outlast_a_change_of_data_type():
    statistics = RatioStatistics(NAMES)
    for _ in range(300):  # more tokens than half precision counts
        statistics.bfloat16().update(*draw())
    assert figures(statistics) == pytest.approx(expected(draw()))


def test_a_ratio_that_overflows_is_not_hidden():
    statistics = RatioStatistics()
    statistics.update(torch.tensor([0.0, 1000.0]))
    assert figures(statistics)["ratio_max"] == math.inf
