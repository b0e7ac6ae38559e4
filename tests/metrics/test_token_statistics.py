from __future__ import annotations

import math

import pytest
import torch

from lightning_gft import Source, TokenBatch
from lightning_gft.metrics import TokenStatistics
from lightning_gft.types import LossOutput


def test_against_plain_python_over_several_updates():
    generator = torch.Generator().manual_seed(0)
    statistics, seen = TokenStatistics(), []
    for size in (7, 1, 0, 30):
        entropy, coefficients, weights = torch.randn(3, size, generator=generator)
        entropy, weights = entropy.abs(), weights.abs()
        output = LossOutput(torch.tensor(0.0), torch.zeros(size), entropy)
        statistics.update(output, coefficients, TokenBatch(coefficients, torch.zeros(size), weights))
        seen += list(zip(entropy.tolist(), (coefficients * weights).tolist(), strict=True))
    negative = [weight for _, weight in seen if weight < 0]
    assert {name: value.item() for name, value in statistics.compute().items()} == pytest.approx(
        {
            "entropy": math.fsum(entropy for entropy, _ in seen) / 38,
            "negative/token_fraction": len(negative) / 38,
            "negative/weight_fraction": math.fsum(map(abs, negative)) / math.fsum(abs(weight) for _, weight in seen),
        },
        rel=1e-6,
    )
    assert 0 < len(negative) < 38


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
def test_nothing_counted_gives_zeros():
    assert {name: value.item() for name, value in TokenStatistics().compute().items()} == {
        "entropy": 0.0,
        "negative/token_fraction": 0.0,
        "negative/weight_fraction": 0.0,
    }


def test_difference_to_sampling_counts_own_tokens_alone():
    statistics = TokenStatistics()
    source = torch.tensor([Source.EXPERT, Source.SELF, Source.SELF])
    tokens = TokenBatch(torch.ones(3), source, torch.ones(3), sampling_logprobs=torch.tensor([0.0, -1.0, -2.0]))
    statistics.update(
        LossOutput(torch.tensor(0.0), torch.tensor([-9.0, -1.5, -1.0]), torch.ones(3)), torch.ones(3), tokens
    )
    assert statistics.compute()["sampling/logprob_difference"].item() == pytest.approx(0.75)
