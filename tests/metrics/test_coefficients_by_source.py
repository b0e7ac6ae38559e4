"""Weights before and after rectification of any loss, by source and sign."""

from __future__ import annotations

import math

import pytest
import torch

from lightning_gft import Source, TokenBatch
from lightning_gft.metrics import CoefficientsBySource
from tests.reference import random_groups, weight_statistics

EXTREMES = [(0.0, 1.0), (-600.0, 1.0), (-700.0, 1e-300), (-torch.inf, 0.0), (-1.0, 0.0), (-2.0, -0.5), (-44.5, 3.0)]
"""Log-probabilities with their factors."""


def tokens_of(seed: int, sizes: tuple[int, ...] = (1, 3, 5, 2)) -> TokenBatch:
    groups, logprobs = random_groups(seed, sizes)
    return groups.tokens(20 * logprobs[groups.response_mask])


def kinds(tokens: TokenBatch) -> list[list[str]]:
    """Return, for each token, the ends of the names that it counts for."""
    names = [Source(source).name.lower() for source in tokens.source.tolist()]
    signs = ["negative" if advantage < 0 else "positive" for advantage in tokens.advantages.tolist()]
    return [[name, f"{name}_{sign}"] for name, sign in zip(names, signs, strict=True)]


def expected(batches: list[tuple[TokenBatch, torch.Tensor]]) -> dict[str, float]:
    seen: dict[str, list[tuple[float, float]]] = {}
    for tokens, factors in batches:
        for logprob, factor, ends in zip(tokens.logprobs.tolist(), factors.tolist(), kinds(tokens), strict=True):
            for end in [] if math.isnan(factor) else ["", *ends]:
                seen.setdefault(end, []).append((logprob, factor))
    figures = {}
    for end, pairs in seen.items():
        of_kind = weight_statistics([logprob for logprob, _ in pairs], [factor for _, factor in pairs])
        if end.endswith("tive"):
            of_kind = {name: of_kind[name] for name in ("rectified_fraction", "coefficient_mean")}
        figures |= {f"{name}_by_source/{end}" if end else name: value for name, value in of_kind.items()}
    return figures


def computed(statistics: CoefficientsBySource) -> dict[str, float]:
    return {name: value.item() for name, value in statistics.compute().items()}


def test_against_plain_python_over_several_updates():
    statistics, batches = CoefficientsBySource(), []
    for seed, sizes in enumerate(((1, 3, 5, 2), (4,), (2, 2, 6, 1, 3))):
        tokens = tokens_of(seed, sizes)
        factors = torch.where(torch.rand(len(tokens)) < 0.5, 1.0, torch.randn(len(tokens), dtype=torch.float64))
        factors[::7] = torch.nan
        for part in (slice(0, 1), slice(1, 1), slice(1, None)):
            statistics.update(tokens[part], factors[part])
        batches.append((tokens, factors))
    figures = computed(statistics)
    assert figures == pytest.approx(expected(batches), rel=1e-9)
    assert len(figures) == 8 + 3 * 8 + 6 * 2
    statistics.reset()
    statistics.update(*batches[0])
    assert computed(statistics) == pytest.approx(expected(batches[:1]), rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("source", Source)
def test_extreme_weights_one_by_one_and_together(source: Source, dtype: torch.dtype):
    pairs = [pair for pair in EXTREMES if dtype == torch.float64 or pair[1] != 1e-300]
    for chosen in (*([pair] for pair in pairs), pairs):
        logprobs, factors = torch.tensor(chosen, dtype=dtype).unbind(dim=1)
        numbers = torch.full((len(chosen),), int(source))
        tokens = TokenBatch(logprobs, torch.ones(len(chosen)), numbers, numbers, numbers, torch.ones(len(chosen)))
        statistics = CoefficientsBySource()
        statistics.update(tokens, factors)
        figures = computed(statistics)
        assert figures == pytest.approx(expected([(tokens, factors)]), rel=1e-6)
        assert all(map(math.isfinite, figures.values()))
        assert statistics.histograms.sum(dim=-1).tolist() == [
            [len(chosen)] * 2 if one == source else [0, 0] for one in Source
        ]


def test_tokens_of_which_nothing_is_known_are_counted_nowhere():
    statistics, tokens = CoefficientsBySource(), tokens_of(0)
    tokens.logprobs[::2] = torch.nan
    factors = torch.ones(len(tokens)).masked_fill(torch.arange(len(tokens)) % 2 == 1, torch.nan)
    statistics.update(tokens, factors)
    figures = computed(statistics)
    assert set(figures.values()) == {0.0}
    assert "_by_source/" not in "".join(figures)
    assert not statistics.histograms.any()


def test_signs_of_a_loss_that_looks_at_no_advantage_are_left_out():
    statistics, tokens = CoefficientsBySource(), tokens_of(1)
    statistics.update(tokens, torch.ones(len(tokens)), signed=False)
    assert {name.partition("_by_source/")[2] for name in computed(statistics)} == {"", "expert", "teacher", "self"}


def test_counts_under_autocast_are_exact():
    plain, cast, tokens = CoefficientsBySource(), CoefficientsBySource(), tokens_of(2)
    plain.update(tokens, tokens.logprobs.exp())
    with torch.autocast("cpu", torch.bfloat16):
        cast.update(tokens, tokens.logprobs.exp())
        assert computed(cast) == computed(plain)
