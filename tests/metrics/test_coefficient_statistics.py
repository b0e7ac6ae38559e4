"""Statistics of coefficients that were used, whatever gave them."""

from __future__ import annotations

import math

import pytest
import torch

from lightning_gft import record
from lightning_gft.metrics import CoefficientStatistics
from lightning_gft.metrics.histogram import NUM_BINS, places, quantiles, sparse
from tests.reference import exact_quantile, rectifier_statistics


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


@pytest.mark.parametrize("share", [0.9, 0.99, 1.0])
def test_a_percentile_is_within_five_percent_of_the_exact_one(share: float):
    generator = torch.Generator().manual_seed(1)
    weights = (3 * torch.randn(4, 2000, generator=generator, dtype=torch.float64)).exp()
    weights[1] = 1.0
    weights[2, :1000] = 0.0
    weights[3] = 0.0
    histograms = torch.zeros(4, NUM_BINS)
    for row, values in enumerate(weights):
        histograms[row].index_add_(0, places(values), torch.ones(len(values)))
    actual = quantiles(histograms, weights.amax(dim=1), share).tolist()
    for value, row in zip(actual, weights.tolist(), strict=True):
        assert value == pytest.approx(exact_quantile(row, share), rel=0.045)
    rows = [{int(number): count for number, count in sparse(histogram).items()} for histogram in histograms]
    assert [record.quantile(row, share) for row in rows] == pytest.approx(actual, rel=0.045)
    assert actual[1::2] == [1.0, 0.0]


def test_one_rounded_weight_is_one():
    # p / p is 1 but for rounding, on either side.
    statistics, logprobs = CoefficientStatistics(), -20 * torch.rand(1000)
    statistics.update(logprobs, logprobs.exp())
    assert figures(statistics)["rectified_weight_p99"] == 1.0


def test_counts_outlast_a_change_of_data_type():
    statistics, changed = CoefficientStatistics(), CoefficientStatistics()
    for one in (statistics, changed):
        one.update(*draw())
    assert figures(changed.to(torch.bfloat16)) == figures(statistics)
    assert statistics.state_dict() == {}
