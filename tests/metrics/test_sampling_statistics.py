"""How the policy that drew compares with the one that trains: log-probabilities and age of weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lightning_gft.metrics import SamplingStatistics, Staleness
from lightning_gft.types import Source, TokenBatch
from tests.reference import random_groups

NAME = "sampling/logprob_difference"


def tokens(now: Tensor, drawn: Tensor | None, source: int = Source.SELF) -> TokenBatch:
    one = torch.ones(len(now))
    return TokenBatch(now, one, torch.full((len(now),), source), one.long(), one.long(), one, sampling_logprobs=drawn)


def computed(statistics: SamplingStatistics | Staleness) -> dict[str, float]:
    return {name: value.item() for name, value in statistics.compute().items()}


def test_quantiles_are_those_of_own_tokens_of_all_updates():
    statistics, generator = SamplingStatistics(), torch.Generator().manual_seed(0)
    differences = torch.rand(3000, generator=generator).pow(6)
    for part in differences.split(700):
        statistics.update(tokens(-1 - part, torch.full_like(part, -1.0)))
    statistics.update(tokens(torch.tensor([-9.0]), torch.tensor([-1.0]), Source.EXPERT))
    figures = computed(statistics)
    assert figures[NAME] == pytest.approx(differences.mean().item(), rel=1e-4)
    for share, name in ((0.5, "p50"), (0.99, "p99")):
        assert figures[f"{NAME}_{name}"] == pytest.approx(differences.quantile(share).item(), rel=0.06)
    assert figures[f"{NAME}_max"] == pytest.approx(differences.max().item(), rel=1e-6)


def test_what_is_not_known_is_left_out_and_nothing_known_is_no_figure():
    statistics = SamplingStatistics()
    for drawn in (torch.tensor([-1.0, torch.nan]), torch.tensor([torch.nan, torch.nan]), None):
        statistics.update(tokens(torch.tensor([-1.5, -9.0]), drawn))
    assert computed(statistics) == {NAME: 0.5, f"{NAME}_p50": 0.5, f"{NAME}_p99": 0.5, f"{NAME}_max": 0.5}
    statistics.reset()
    statistics.update(tokens(torch.tensor([-1.5]), torch.tensor([torch.nan])))
    assert computed(statistics) == {}


def test_impossible_tokens():
    statistics, never = SamplingStatistics(), -torch.inf
    statistics.update(tokens(torch.tensor([never, -1.0, -1.0]), torch.tensor([never, -1.0, -1.0])))
    assert computed(statistics)[f"{NAME}_max"] == 0
    statistics.update(tokens(torch.tensor([never]), torch.tensor([-1.0])))
    assert computed(statistics)[f"{NAME}_max"] == torch.inf
    assert computed(statistics)[f"{NAME}_p50"] == 0


def test_staleness_is_of_the_sequences_whose_weights_are_known():
    statistics, groups = Staleness(), random_groups(0)[0]
    statistics.update(groups, steps=7)
    assert computed(statistics) == {}
    versions = torch.full_like(groups.source, -1)
    versions[:3] = torch.tensor([7, 6, 4])
    statistics.update(replace(groups, weights_version=versions), steps=7)
    assert computed(statistics) == {"sampling/staleness/mean": pytest.approx(4 / 3), "sampling/staleness/max": 3.0}
