"""Demonstrations by one objective, own samples by another."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lightning_gft import AdaptiveCoefficientRectifier, GFTLoss, GRPOLoss, IdentityRectifier, SFTLoss
from lightning_gft.losses.mixed import MixedLoss
from lightning_gft.types import GroupBatch, Source
from tests import reference


def gradient(loss: Tensor, logprobs: Tensor) -> Tensor:
    return torch.autograd.grad(loss, logprobs)[0]


def per_source(groups: GroupBatch, logprobs: Tensor) -> tuple[Tensor, Tensor]:
    """Return what SFT adds up over demonstrations, and what the policy gradient does over own samples."""
    own = groups.source == Source.SELF
    mask = groups.response_mask
    likelihood = torch.where(mask & ~own[:, None], -logprobs, 0.0).sum()
    policy = torch.where(mask & own[:, None], -groups.advantages[:, None] * logprobs, 0.0).sum()
    return likelihood, policy


class Apart(MixedLoss):
    """Averages demonstrations and own samples apart."""

    def shares(self, groups: GroupBatch) -> list[Tensor]:
        own = groups.source == Source.SELF
        return [~own, own]


@pytest.mark.parametrize("apart", [False, True])
def test_each_source_has_its_objective(apart: bool):
    groups, logprobs = reference.random_groups(3)
    logprobs.requires_grad_()
    loss = (Apart if apart else MixedLoss)(SFTLoss(), GFTLoss(IdentityRectifier()))
    likelihood, policy = per_source(groups, logprobs)
    own = int(groups.response_mask[groups.source == Source.SELF].sum())
    total = int(groups.response_mask.sum())
    expected = likelihood / (total - own) + policy / own if apart else (likelihood + policy) / total
    actual = loss(logprobs, groups)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(gradient(actual, logprobs), gradient(expected, logprobs), rtol=0, atol=1e-12)


@pytest.mark.parametrize("absent", [Source.SELF, Source.EXPERT])
def test_a_share_may_be_empty(absent: Source):
    groups, logprobs = reference.random_groups(3)
    there = Source.EXPERT if absent == Source.SELF else Source.SELF
    groups = replace(groups, source=torch.full_like(groups.source, there))
    loss = Apart(SFTLoss(), GFTLoss(IdentityRectifier()))(logprobs, groups)
    expected = sum(per_source(groups, logprobs)) / groups.response_mask.sum()
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-12)


def test_figures_of_one_name_are_told_apart():
    groups, logprobs = reference.random_groups(4)
    adaptive = [AdaptiveCoefficientRectifier(initial_threshold=threshold) for threshold in (0.2, 0.4)]
    loss = MixedLoss(*map(GFTLoss, adaptive))
    tokens = groups.tokens(logprobs[groups.response_mask])
    loss.update(tokens, loss.coefficients(tokens))
    assert loss.compute() == {"demonstrations_threshold": 0.2, "own_threshold": 0.4}
    assert "clip" in MixedLoss(SFTLoss(), Clipping()).compute()


class Clipping(GFTLoss):
    """Reports one figure of its own."""

    def compute(self) -> dict[str, Tensor | float]:
        return {"clip": 0.0}


def test_sequences_that_are_excluded_are_neither_trained_on_nor_in_the_mean():
    groups, logprobs = reference.random_groups(5)
    logprobs.requires_grad_()
    aside = torch.arange(len(groups)) % 3 == 0
    marked = replace(groups, excluded=aside)
    rest = (~aside).nonzero()[:, 0]
    loss = SFTLoss()
    assert not (loss.trained(marked) & aside).any()
    kept = groups.select(rest)
    expected = loss(logprobs[rest][:, : kept.input_ids.shape[1]], kept)
    torch.testing.assert_close(loss(logprobs, marked), expected, rtol=0, atol=1e-12)


def test_objectives_whose_roles_are_exchanged_are_refused():
    MixedLoss(SFTLoss(), GRPOLoss()).check_group(num_responses=8, num_own=4)
    with pytest.raises(ValueError, match=r"^`sampler.sources`: expected own samples for GRPOLoss"):
        MixedLoss(GRPOLoss(), SFTLoss()).check_group(num_responses=8, num_own=4)
