"""Objectives with ratios, against what their papers maximise, worked out by autograd."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from lightning_gft import CISPOLoss, GFTLoss, GRPOLoss, GSPOLoss, IdentityRectifier, PSFTLoss, SFTLoss
from lightning_gft.losses import GroupLoss
from lightning_gft.losses.ratio import RatioLoss
from lightning_gft.types import GroupBatch, Source, TokenBatch
from tests import reference
from tests.reference.policy_gradients import OfResponse, averaged, capped, clipped, clipped_response, proximal


class Case(NamedTuple):
    """A loss, and the objective that it stands for."""

    loss: RatioLoss
    objective: OfResponse


CASES = {
    "grpo": Case(GRPOLoss(), clipped(0.2, 0.2)),
    "grpo by groups": Case(GRPOLoss(reduction="group-mean"), clipped(0.2, 0.2)),
    "dapo": Case(GRPOLoss(epsilon_high=0.28, reduction="token-mean"), clipped(0.2, 0.28)),
    "dr_grpo": Case(GRPOLoss(reduction="constant-length", max_completion_length=20), clipped(0.2, 0.2)),
    "two-sided": Case(GRPOLoss(delta=1.4), clipped(0.2, 0.2, 1.4)),
    "cispo": Case(CISPOLoss(1.2), capped(1.2)),
    "cispo by responses": Case(CISPOLoss(1.2, reduction="sequence-mean"), capped(1.2)),
    "gspo": Case(GSPOLoss(0.1, 0.15), clipped_response(0.1, 0.15)),
    "psft": Case(PSFTLoss(0.2), proximal(0.2)),
    "psft by responses": Case(PSFTLoss(0.2, reduction="sequence-mean"), proximal(0.2)),
}
every_case = pytest.mark.parametrize("name", CASES)


def batch(seed: int = 0) -> tuple[GroupBatch, Tensor, Tensor]:
    """Return ragged groups, log-probabilities as they are now and as they were; ratios stray far from 1."""
    groups, logprobs = reference.random_groups(seed, sizes=(3, 8, 12, 7), length=12)
    noise = torch.randn(logprobs.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(100 + seed))
    return groups, logprobs.requires_grad_(), logprobs.detach() - 0.4 * noise


def gradient(value: Tensor, logprobs: Tensor) -> Tensor:
    return torch.autograd.grad(value, logprobs)[0]


def published(case: Case, groups: GroupBatch, logprobs: Tensor, old: Tensor) -> Tensor:
    """Return the objective of the paper, averaged over the sequences of the loss's source."""
    demonstrations = isinstance(case.loss, PSFTLoss)
    rows = [n for n, source in enumerate(groups.source.tolist()) if (source != Source.SELF) == demonstrations]
    return averaged(
        case.objective,
        [logprobs[n][groups.response_mask[n]] for n in rows],
        [old[n][groups.response_mask[n]] for n in rows],
        groups.advantages[rows].tolist(),
        groups.group_index[rows].tolist(),
        case.loss.reduction,
        case.loss.max_completion_length or 0,
    )


@every_case
@pytest.mark.parametrize("seed", range(3))
def test_gradient_is_that_of_the_published_objective(name: str, seed: int):
    case, (groups, logprobs, old) = CASES[name], batch(seed)
    loss = case.loss(logprobs, groups, old_logprobs=old)
    expected = published(case, groups, logprobs, old)
    torch.testing.assert_close(gradient(loss, logprobs), -gradient(expected, logprobs), rtol=0, atol=1e-12)
    if "cispo" in name:  # where the coefficient is published as such, the value is too
        torch.testing.assert_close(loss, -expected, rtol=0, atol=1e-12)


def test_the_cases_above_clip_on_both_sides_and_for_both_signs():
    groups, logprobs, old = batch()
    known = groups.tokens(logprobs.detach()[groups.response_mask])
    tokens = replace(known, old_logprobs=old[groups.response_mask]).with_logratios(frozenset({"sequence_logratio"}))
    for loss, low, high in ((GRPOLoss(), 0.8, 1.2), (GSPOLoss(0.1, 0.15), 0.9, 1.15)):
        ratio, clips = loss.logratio(tokens).exp(), loss.coefficients(tokens) == 0
        for sign in (-1, 1):
            of_sign = tokens.advantages.sign() == sign
            below, within, above = ((ratio < low), (ratio > low) & (ratio < high), (ratio > high))
            assert all((of_sign & where).any() for where in (below, within, above))
            assert clips[of_sign & below].all() == (sign < 0)
            assert not clips[of_sign & within].any()
            assert clips[of_sign & above].all() == (sign > 0)


def edges(advantage: float) -> tuple[GroupBatch, Tensor, Tensor]:
    """Return three tokens with ratios of exactly 0.5, 1 and 2."""
    mask = torch.tensor([[False, True, True, True]])
    one = torch.ones(1, dtype=torch.float64)
    own = torch.full((1,), int(Source.SELF))
    groups = GroupBatch(mask.long(), torch.ones_like(mask), mask, own, own, one, advantage * one, one.bool())
    halves = -math.log(2) * torch.tensor([[0, 2, 1, 1], [0, 1, 1, 2]], dtype=torch.float64)
    return groups, halves[:1].requires_grad_(), halves[1:]


@pytest.mark.parametrize("advantage", [-1.5, 1.5])
@pytest.mark.parametrize("case", [Case(GRPOLoss(0.5, 1.0), clipped(0.5, 1)), Case(CISPOLoss(2.0), capped(2))])
def test_a_ratio_at_the_edge_is_within(case: Case, advantage: float):
    groups, logprobs, old = edges(advantage)
    actual = gradient(case.loss(logprobs, groups, old_logprobs=old), logprobs)
    assert actual[0, 1:].tolist() == pytest.approx([-advantage * ratio / 3 for ratio in (0.5, 1, 2)])
    expected = -gradient(published(case, groups, logprobs, old), logprobs)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-15)


def test_clipping_needs_no_distance_where_nothing_moves():
    groups, logprobs, _ = batch()
    loss = GRPOLoss(epsilon=0.0)
    assert gradient(loss(logprobs, groups, old_logprobs=logprobs), logprobs).any()


LIMITS: dict[str, tuple[RatioLoss, GroupLoss]] = {
    "grpo": (GRPOLoss(), GFTLoss(IdentityRectifier(), reduction="sequence-mean")),
    "dapo": (GRPOLoss(0.2, 0.28, reduction="token-mean"), GFTLoss(IdentityRectifier())),
    "cispo": (CISPOLoss(), GFTLoss(IdentityRectifier())),
    "gspo": (GSPOLoss(), GFTLoss(IdentityRectifier(), reduction="sequence-mean")),
    "psft": (PSFTLoss(), SFTLoss()),
}


@pytest.mark.parametrize("name", LIMITS)
def test_where_nothing_has_moved_the_loss_is_a_simpler_one(name: str):
    loss, simpler = LIMITS[name]
    groups, logprobs, _ = batch(1)
    rows = loss.takes_part(groups).nonzero()[:, 0]
    part = groups.select(rows)
    values = logprobs[rows, : part.input_ids.shape[1]]
    actual, expected = loss(logprobs, groups, old_logprobs=logprobs), simpler(values, part)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-15)
    torch.testing.assert_close(gradient(actual, logprobs), gradient(expected, logprobs), rtol=0, atol=1e-15)


@every_case
def test_coefficients_of_a_part_are_those_of_the_whole(name: str):
    loss, (groups, logprobs, old) = CASES[name].loss, batch(2)
    tokens = groups.tokens(logprobs[groups.response_mask])
    tokens = replace(tokens, old_logprobs=old[groups.response_mask]).with_logratios(frozenset({"sequence_logratio"}))
    whole = loss.coefficients(tokens)
    part = torch.randperm(len(tokens), generator=torch.Generator().manual_seed(0))[: len(tokens) // 3]
    assert torch.equal(loss.coefficients(tokens[part]), whole[part])
    assert not whole.requires_grad


@every_case
@pytest.mark.parametrize("junk", [torch.nan, torch.inf, -torch.inf])
def test_what_is_no_response_does_not_matter(name: str, junk: float):
    loss, (groups, logprobs, old) = CASES[name].loss, batch(3)
    outside = ~groups.response_mask | ~loss.takes_part(groups)[:, None]
    filled = logprobs.detach().masked_fill(outside, junk).requires_grad_()
    actual = loss(filled, groups, old_logprobs=old.masked_fill(outside, junk))
    expected = loss(logprobs, groups, old_logprobs=old)
    assert actual == expected
    assert torch.equal(gradient(actual, filled), gradient(expected, logprobs))


@every_case
def test_a_token_that_has_become_or_is_impossible_gives_a_finite_gradient(name: str):
    loss, (groups, logprobs, old) = CASES[name].loss, batch(4)
    now = logprobs.detach().clone()
    now[:, ::2] = -torch.inf
    old[:, ::4] = -torch.inf  # half of them have always been
    value = loss(now.requires_grad_(), groups, old_logprobs=old)
    assert value.isfinite()
    assert gradient(value, now).isfinite().all()


@every_case
@pytest.mark.parametrize("before", [-200.0, -torch.inf])
def test_a_ratio_that_overflows_leaves_coefficients_finite(name: str, before: float):
    loss, (groups, logprobs, _) = CASES[name].loss, batch(4)
    assert (groups.advantages == 0).any()  # where 0 * inf would be NaN
    tokens = groups.tokens(logprobs.float()[groups.response_mask])
    tokens = replace(tokens, old_logprobs=torch.full_like(tokens.logprobs, before)).with_logratios(
        frozenset({"sequence_logratio"})
    )
    assert loss.coefficients(tokens).isfinite().all()


@pytest.mark.parametrize("kind", [GRPOLoss, GSPOLoss, CISPOLoss])
def test_truncated_completions_are_left_out_as_if_they_were_not_there(kind: Any):
    groups, logprobs, old = batch(5)
    groups = replace(groups, finished=torch.arange(len(groups)) % 3 != 0)
    rows = groups.finished.nonzero()[:, 0]
    part = groups.select(rows)
    values, before = (each.detach()[rows, : part.input_ids.shape[1]] for each in (logprobs, old))
    masked = kind(mask_truncated_completions=True)
    expected = kind()(values, part, old_logprobs=before)
    assert masked(logprobs, groups, old_logprobs=old).item() == pytest.approx(expected.item(), abs=1e-15)
    assert kind()(logprobs, groups, old_logprobs=old).item() != pytest.approx(expected.item())
    assert not masked.trained(groups)[~groups.finished].any()


def test_truncated_demonstrations_are_not_left_out():
    groups = replace(batch(5)[0], finished=torch.zeros(len(batch(5)[0]), dtype=torch.bool))
    masked = PSFTLoss()
    masked.mask_truncated_completions = True  # as a subclass may set it
    assert masked.takes_part(groups).equal(groups.source != Source.SELF)
    assert not GRPOLoss(mask_truncated_completions=True).takes_part(groups).any()


@every_case
def test_nothing_is_kept_in_a_checkpoint(name: str):
    assert CASES[name].loss.state_dict() == {}
    assert list(CASES[name].loss.parameters()) == []


@every_case
def test_what_takes_part_and_what_is_skipped(name: str):
    loss, (groups, _, _) = CASES[name].loss, batch(6)
    demonstrations = groups.source != Source.SELF
    assert torch.equal(loss.takes_part(groups), demonstrations if "psft" in name else ~demonstrations)
    assert torch.equal(loss.can_skip(groups), (groups.advantages == 0) & ("psft" not in name))


def counted(loss: RatioLoss, tokens: TokenBatch) -> dict[str, float]:
    coefficients = loss.coefficients(tokens)
    for part in (tokens.sequence < 9, tokens.sequence >= 9):  # micro-batches
        loss.update(tokens[part], coefficients[part])
    figures = {name: float(value) for name, value in loss.compute().items()}
    loss.reset()
    return figures


def test_figures_are_shares_of_tokens_or_of_responses():
    groups, logprobs, old = batch(7)
    tokens = groups.tokens(logprobs[groups.response_mask])
    tokens = replace(tokens, old_logprobs=old[groups.response_mask]).with_logratios(frozenset({"sequence_logratio"}))
    pairs = list(zip((tokens.logprobs - tokens.old_logprobs).exp().tolist(), tokens.advantages.tolist(), strict=True))
    low = sum(r < 0.8 and a < 0 for r, a in pairs) / len(pairs)
    high = sum(r > 1.28 and a > 0 for r, a in pairs) / len(pairs)
    beyond = sum(r > 2 and a < 0 for r, a in pairs) / len(pairs)
    ratios = {"ratio_mean": sum(r for r, _ in pairs) / len(pairs), "ratio_max": max(r for r, _ in pairs)}
    shares = {"clip_ratio/low_mean": low, "clip_ratio/high_mean": high, "clip_ratio/region_mean": low + high}
    assert counted(GRPOLoss(epsilon_high=0.28), tokens) == pytest.approx(ratios | shares)
    shares["clip_ratio/region_mean"] += beyond
    assert counted(GRPOLoss(epsilon_high=0.28, delta=2.0), tokens) == pytest.approx(ratios | shares)
    assert min(low, high, beyond) > 0
    above = sum(r > 1.5 and a > 0 for r, a in pairs) / len(pairs)
    assert counted(CISPOLoss(1.5), tokens) == pytest.approx(ratios | {"cispo_clip_ratio": above})
    first = tokens[tokens.position == 0]
    of_responses = first.sequence_logratio.exp()
    figures = counted(GSPOLoss(0.1, 0.15), tokens)
    assert figures["ratio_mean"] == pytest.approx(of_responses.mean().item())
    low = (of_responses < 0.9) & (first.advantages < 0)
    assert figures["clip_ratio/low_mean"] == pytest.approx(low.double().mean().item())
    assert figures["clip_ratio/low_mean"] > 0


@pytest.mark.parametrize(
    ("kind", "settings", "complaint"),
    [
        (GRPOLoss, {"epsilon": -0.2}, r"`epsilon` of GRPOLoss: expected a number of at least 0, got -0\.2"),
        (GRPOLoss, {"epsilon_high": -0.1}, "`epsilon_high` of GRPOLoss: expected a number of at least 0, or null, got"),
        (GRPOLoss, {"epsilon": float("nan")}, "`epsilon` of GRPOLoss: "),
        (GRPOLoss, {"delta": 1.2}, r"`delta` of GRPOLoss: expected a number above 1\.2, or null, got 1\.2"),
        (GRPOLoss, {"max_completion_length": 8}, "`max_completion_length`: expected a number of tokens"),
        (GSPOLoss, {"epsilon": -1}, "`epsilon` of GSPOLoss: "),
        (PSFTLoss, {"epsilon_high": -1}, "`epsilon_high` of PSFTLoss: "),
        (CISPOLoss, {"epsilon_high": 0.28}, "`epsilon_high` of CISPOLoss: .*the largest ratio itself"),
    ],
)
def test_bad_settings_are_one_line(kind: type, settings: dict[str, Any], complaint: str):
    with pytest.raises(ValueError, match=complaint) as raised:
        kind(**settings)
    assert "\n" not in str(raised.value)
