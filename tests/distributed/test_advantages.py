"""The standard deviation of a batch is that of all ranks."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_gft.advantages import GroupNormalizedAdvantage
from lightning_gft.types import GroupBatch
from tests import reference
from tests.distributed.launch import run_two_processes

ESTIMATORS = [
    GroupNormalizedAdvantage(scale="batch"),
    GroupNormalizedAdvantage(scale="batch", over="own"),
    GroupNormalizedAdvantage(scale="group"),
]


def share_of(rank: int) -> tuple[GroupBatch, Tensor]:
    """Return the whole groups of a rank, which has fewer than the other, and their rows in the batch."""
    groups, _ = reference.random_groups(4, sizes=(3, 2, 4, 5))
    on_first = groups.group_index == groups.group_index.min()
    rows = (on_first if rank == 0 else ~on_first).nonzero()[:, 0]
    return groups.select(rows), rows


def on_rank(rank: int) -> tuple[list[Tensor], Tensor, Tensor]:
    share, rows = share_of(rank)
    together = [estimator(share) for estimator in ESTIMATORS]
    none = share.select(torch.zeros(0, dtype=torch.long))
    without = ESTIMATORS[0](none if rank == 0 else share)  # a rank whose prompts got no response
    with torch.no_grad():  # as in prediction, where the other rank may have no batch left
        alone = ESTIMATORS[0](share) if rank == 1 else without
    return [*together, without], alone, rows


def test_ranks_scale_by_the_standard_deviation_of_the_whole_batch():
    whole, _ = reference.random_groups(4, sizes=(3, 2, 4, 5))
    ranks = run_two_processes(on_rank)
    for together, _, rows in ranks:
        for actual, estimator in zip(together, ESTIMATORS, strict=False):
            torch.testing.assert_close(actual, estimator(whole)[rows], rtol=0, atol=1e-12)
    share, _ = share_of(1)
    (first, _, _), (second, alone, _) = ranks
    assert first[3].shape == (0,)
    for actual in (second[3], alone):
        torch.testing.assert_close(actual, ESTIMATORS[0](share), rtol=0, atol=1e-12)
    assert not torch.equal(alone, second[0])
