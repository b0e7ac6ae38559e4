from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from lightning_gft import Source, TokenBatch
from lightning_gft.metrics import TokenStatistics


def batch(size: int, **known: Any) -> TokenBatch:
    """Return tokens, of which most is 0 unless given."""
    zeros, numbers = torch.zeros(size), torch.zeros(size, dtype=torch.long)
    fields = {"logprobs": zeros, "advantages": zeros, "source": numbers, "sequence": numbers, "position": numbers}
    return TokenBatch(**{**fields, "weights": torch.ones(size), "entropy": zeros, **known})


def test_against_plain_python_over_several_updates():
    generator = torch.Generator().manual_seed(0)
    statistics, seen = TokenStatistics(), []
    for size in (7, 1, 0, 30):
        entropy, coefficients, weights = torch.randn(3, size, generator=generator)
        entropy, weights = entropy.abs(), weights.abs()
        statistics.update(batch(size, entropy=entropy, weights=weights), coefficients)
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
    tokens = batch(
        3,
        source=torch.tensor([Source.EXPERT, Source.SELF, Source.SELF]),
        logprobs=torch.tensor([-9.0, -1.5, -1.0]),
        sampling_logprobs=torch.tensor([torch.nan, -1.0, -2.0]),
    )
    statistics.update(tokens, torch.ones(3))
    assert statistics.compute()["sampling/logprob_difference"].item() == pytest.approx(0.75)


def test_difference_to_sampling_leaves_out_what_is_not_known():
    statistics = TokenStatistics()
    for known in ([-1.0, torch.nan], [torch.nan, torch.nan]):
        source = torch.tensor([Source.SELF, Source.SELF])
        values = {"logprobs": torch.tensor([-1.5, -9.0]), "sampling_logprobs": torch.tensor(known)}
        statistics.update(batch(2, source=source, **values), torch.ones(2))
    assert statistics.compute()["sampling/logprob_difference"].item() == 0.5
    statistics.reset()
    statistics.update(batch(2, source=source, **values), torch.ones(2))
    assert "sampling/logprob_difference" not in statistics.compute()
