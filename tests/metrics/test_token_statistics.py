from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from lightning_gft import Source, TokenBatch
from lightning_gft.metrics import TokenStatistics
from tests.reference import random_groups


def batch(size: int, **known: Any) -> TokenBatch:
    """Return tokens, of which most is 0 unless given."""
    zeros, numbers = torch.zeros(size), torch.zeros(size, dtype=torch.long)
    fields = {"logprobs": zeros, "advantages": zeros, "source": numbers, "sequence": numbers, "position": numbers}
    return TokenBatch(**{**fields, "weights": torch.ones(size), "entropy": zeros, **known})


def test_against_plain_python_over_several_updates():
    statistics, seen = TokenStatistics(), dict[str, list[tuple[float, float, float]]]()
    for seed, sizes in enumerate(((1, 3, 5, 2), (4,), (2, 2, 6, 1, 3))):
        groups, logprobs = random_groups(seed, sizes)
        tokens = groups.tokens(logprobs[groups.response_mask], weights=torch.rand(len(groups), dtype=torch.float64))
        tokens.entropy = torch.rand(len(tokens), dtype=torch.float64)
        coefficients = torch.randn(len(tokens), dtype=torch.float64)
        for part in (slice(0, 1), slice(1, 1), slice(1, None)):
            statistics.update(tokens[part], coefficients[part])
        for row in range(len(tokens)):
            weight = float(coefficients[row] * tokens.weights[row])
            values = (float(tokens.entropy[row]), -float(tokens.logprobs[row]), weight)
            for name in ("", f"_by_source/{Source(int(tokens.source[row])).name.lower()}"):
                seen.setdefault(name, []).append(values)
    expected = {}
    for name, rows in seen.items():
        negative = [-weight for *_, weight in rows if weight < 0]
        expected[f"entropy{name}"] = math.fsum(entropy for entropy, *_ in rows) / len(rows)
        expected[f"nll{name}"] = math.fsum(nll for _, nll, _ in rows) / len(rows)
        expected[f"negative/token_fraction{name}"] = len(negative) / len(rows)
        expected[f"negative/weight_fraction{name}"] = math.fsum(negative) / math.fsum(abs(w) for *_, w in rows)
        assert 0 < len(negative) < len(rows)
    assert len(expected) == 16
    assert {name: value.item() for name, value in statistics.compute().items()} == pytest.approx(expected, rel=1e-9)


def test_impossible_tokens_and_weights_of_nothing_are_finite():
    statistics, source = TokenStatistics(), torch.full((2,), int(Source.EXPERT))
    statistics.update(batch(2, source=source, logprobs=torch.tensor([-torch.inf, 0.0])), torch.zeros(2))
    assert statistics.compute()["nll_by_source/expert"] == 5000
    assert all(value.isfinite() for value in statistics.compute().values())


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
def test_nothing_counted_gives_zeros():
    assert {name: value.item() for name, value in TokenStatistics().compute().items()} == {
        "entropy": 0.0,
        "nll": 0.0,
        "negative/token_fraction": 0.0,
        "negative/weight_fraction": 0.0,
    }
