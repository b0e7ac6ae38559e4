"""Statistics of coefficients that were used, whatever gave them."""

from __future__ import annotations

import math

import pytest
import torch

from lightning_gft.metrics import CoefficientStatistics
from tests.reference import rectifier_statistics


def draw(number: int = 30, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logprobs = -3 * torch.rand(number, dtype=torch.float64, generator=generator)
    coefficients = torch.where(torch.rand(number, generator=generator) < 0.5, 1.0, logprobs.exp())
    return logprobs, coefficients


def figures(statistics: CoefficientStatistics) -> dict[str, float]:
    return {name: value.item() for name, value in statistics.compute().items()}


def test_against_plain_python_over_several_updates():
    statistics, (logprobs, coefficients) = CoefficientStatistics(), draw()
    for part in (slice(0, 1), slice(1, 1), slice(1, 30)):
        statistics.update(logprobs[part], coefficients[part])
    given = dict(zip(logprobs.exp().tolist(), coefficients.tolist(), strict=True))
    assert figures(statistics) == pytest.approx(
        rectifier_statistics(logprobs.tolist(), lambda p: min(given.items(), key=lambda one: abs(one[0] - p))[1])
    )
    statistics.reset()
    statistics.update(*draw(seed=1))
    assert figures(statistics) != pytest.approx(given)


def test_tokens_with_unknown_coefficients_are_not_counted():
    with_unknown, without = CoefficientStatistics(), CoefficientStatistics()
    logprobs, coefficients = draw()
    unknown = torch.arange(30) % 3 == 0
    logprobs = logprobs.masked_fill(unknown, -50.0)  # would be the largest inverse probability
    with_unknown.update(logprobs, coefficients.masked_fill(unknown, torch.nan))
    without.update(logprobs[~unknown], coefficients[~unknown])
    assert figures(with_unknown) == pytest.approx(figures(without))
    assert figures(with_unknown)["inverse_probability_max"] < math.exp(3)


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
def test_nothing_counted_gives_zeros():
    statistics = CoefficientStatistics()
    assert set(figures(statistics).values()) == {0.0}
    statistics.update(torch.zeros(2), torch.full((2,), torch.nan))
    assert set(figures(statistics).values()) == {0.0}


def test_counts_outlast_a_change_of_data_type():
    statistics, changed = CoefficientStatistics(), CoefficientStatistics()
    for one in (statistics, changed):
        one.update(*draw())
    assert figures(changed.to(torch.bfloat16)) == figures(statistics)
    assert statistics.state_dict() == {}
