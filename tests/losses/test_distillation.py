"""On-policy distillation is the gradient of the reverse KL."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_gft import DistillationLoss, GFTLoss, SFTLoss, Source
from lightning_gft.losses.mixed import MixedLoss
from lightning_gft.types import GroupBatch
from tests.reference.batches import random_groups


def taught(seed: int) -> tuple[GroupBatch, Tensor, Tensor, Tensor]:
    """Return ragged groups, and ``[N, T]`` log-probabilities now, before, and under a teacher."""
    groups, logprobs = random_groups(seed)
    old, teacher = logprobs + 0.8 * torch.randn_like(logprobs), logprobs + torch.randn_like(logprobs)
    return groups, logprobs.detach(), old.detach(), teacher.detach()


def gradient(loss: Tensor, logprobs: Tensor) -> Tensor:
    return torch.autograd.grad(loss, logprobs)[0]


@pytest.mark.parametrize("clip", [None, 1.0, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_gradient_is_that_of_the_published_objective(seed: int, clip: float | None):
    groups, given, old, teacher = taught(seed)
    ours, theirs = (given.clone().requires_grad_() for _ in range(2))
    loss = DistillationLoss(clip)(ours, groups, old_logprobs=old, teacher_logprobs=teacher)
    # A product with a ratio that has no gradient, averaged over the tokens of own samples.
    taken = groups.response_mask & (groups.source == Source.SELF)[:, None]
    ratio = (theirs - old).exp().detach()
    ratio = ratio if clip is None else ratio.clamp(max=clip)
    published = ((theirs - teacher).detach() * theirs * ratio)[taken].mean()
    torch.testing.assert_close(gradient(loss, ours), gradient(published, theirs), rtol=0, atol=1e-12)
    torch.testing.assert_close(loss, published)


@pytest.mark.parametrize("updated", [False, True])
def test_over_all_that_may_be_drawn_it_is_the_gradient_of_the_divergence(updated: bool):
    # One group for each token of a vocabulary, weighted by how often the old policy draws it.
    generator = torch.Generator().manual_seed(0)
    logits, before, of_teacher = (torch.randn(7, generator=generator, dtype=torch.float64) for _ in range(3))
    logits.requires_grad_()
    old = before.log_softmax(0) if updated else logits.detach().log_softmax(0)
    loss, total = DistillationLoss(clip=None), torch.zeros((), dtype=torch.float64)
    for token in range(7):
        groups = replace(random_groups(0, sizes=(1,))[0], source=torch.tensor([int(Source.SELF)]))
        mask = torch.zeros_like(groups.response_mask)
        mask[0, 3] = True
        groups = replace(groups, response_mask=mask, attention_mask=torch.ones_like(mask))
        logprobs = logits.log_softmax(0)[token].expand(mask.shape)
        known = {"old_logprobs": old, "teacher_logprobs": of_teacher.log_softmax(0)}
        known = {name: values[token].expand(mask.shape) for name, values in known.items()}
        total = total + old[token].exp() * loss(logprobs, groups, **known)
    divergence = (logits.softmax(0) * (logits.log_softmax(0) - of_teacher.log_softmax(0))).sum()
    torch.testing.assert_close(gradient(total, logits), gradient(divergence, logits), rtol=0, atol=1e-12)


def test_a_policy_that_is_its_teacher_stays():
    groups, given, _, _ = taught(0)
    logprobs = given.clone().requires_grad_()
    loss = DistillationLoss()(logprobs, groups, old_logprobs=given, teacher_logprobs=given)
    assert not gradient(loss, logprobs).any()


def test_responses_that_no_teacher_has_judged_take_no_part():
    groups, given, old, teacher = taught(1)
    own = (groups.source == Source.SELF).nonzero().squeeze(1)
    teacher[groups.source != Source.SELF] = torch.nan
    teacher[own[0]] = torch.nan
    groups = replace(groups, teacher_logprobs=teacher)
    logprobs = given.clone().requires_grad_()
    loss = DistillationLoss()
    assert loss.trained(groups).nonzero().squeeze(1).tolist() == own[1:].tolist()
    value = loss(logprobs, groups, old_logprobs=old)
    assert value.isfinite()
    assert gradient(value, logprobs).isfinite().all()
    _, counts = loss.reduce(groups)
    assert counts.tolist() == [int(groups.response_lengths[own[1:]].sum())]


def test_beside_demonstrations_each_has_its_own_objective():
    groups, given, old, teacher = taught(2)
    teacher[groups.source != Source.SELF] = torch.nan
    groups = replace(groups, teacher_logprobs=teacher)
    logprobs = given.clone().requires_grad_()
    value = MixedLoss(SFTLoss(), DistillationLoss())(logprobs, groups, old_logprobs=old)
    assert gradient(value, logprobs).isfinite().all()


def test_figures():
    groups, given, old, teacher = taught(3)
    own = groups.response_mask & (groups.source == Source.SELF)[:, None]
    loss = DistillationLoss(clip=1.5)
    tokens = replace(groups, response_mask=own).tokens(given[own])
    tokens = replace(tokens, old_logprobs=old[own], teacher_logprobs=teacher[own])
    for half in (slice(0, 4), slice(4, None)):
        loss.update(tokens[half], loss.coefficients(tokens[half]))
    figures = {name: float(value) for name, value in loss.compute().items()}
    assert figures["teacher_kl"] == pytest.approx((given - teacher)[own].mean().item())
    assert figures["clip_ratio/high_mean"] == pytest.approx(((given - old)[own].exp() > 1.5).double().mean().item())
    loss.reset()
    assert not any(map(float, loss.compute().values()))


@pytest.mark.parametrize("clip", [0.5, 0, -1, float("nan"), "2"])
def test_a_clip_below_one_is_refused(clip: Any):
    with pytest.raises(
        (ValueError, TypeError), match=r"`clip`.*: expected a number of at least 1, or null for no limit"
    ):
        DistillationLoss(clip)


def test_truncated_responses_may_be_left_out():
    groups, *_ = taught(4)
    own = groups.source == Source.SELF
    groups = replace(groups, finished=torch.arange(len(groups)) % 2 == 0)
    assert DistillationLoss(mask_truncated_completions=True).takes_part(groups).equal(own & groups.finished)
    assert DistillationLoss().takes_part(groups).equal(own)


def test_no_advantages_are_needed():
    assert "advantages" not in DistillationLoss().needs()
    assert "advantages" in GFTLoss().needs()
