"""What a loss says of itself: what it needs, what may be skipped, what it counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_gft.losses import DFTLoss, GFTLoss, GroupLoss, KLPenalty, SFTLoss, check_known
from lightning_gft.metrics import CoefficientStatistics
from lightning_gft.rectifiers import (
    AdaptiveCoefficientRectifier,
    ContinuousCoefficientRectifier,
    DynamicCoefficientRectifier,
)
from lightning_gft.types import GroupBatch, Need, Source, TokenBatch
from tests import reference


class Plain(GroupLoss):
    """Gives 1 for every token, and needs what it was made with."""

    def __init__(self, *needs: Need) -> None:
        super().__init__()
        self.wanted = frozenset(needs)
        self.seen: list[TokenBatch] = []

    def needs(self) -> frozenset[Need]:
        return self.wanted

    def coefficients(self, tokens: TokenBatch) -> Tensor:
        self.seen.append(tokens)
        return torch.ones_like(tokens.logprobs)


def ones(groups: GroupBatch) -> Tensor:
    return torch.ones(len(groups), dtype=torch.bool)


def test_by_default_all_takes_part_and_nothing_is_skipped():
    groups, _ = reference.random_groups(0)
    loss = Plain()
    assert torch.equal(loss.takes_part(groups), ones(groups))
    assert torch.equal(loss.can_skip(groups), ~ones(groups))
    assert loss.needs() == frozenset()
    assert loss.compute() == {}
    assert torch.equal(loss.trained(groups), groups.response_mask.any(dim=1))


def test_gft_may_skip_what_has_no_advantage_and_a_penalty_around_it_may_not():
    groups, _ = reference.random_groups(1)
    equal = groups.advantages == 0
    assert 0 < equal.sum() < len(groups)
    assert torch.equal(GFTLoss().can_skip(groups), equal)
    assert torch.equal(GFTLoss().takes_part(groups), ones(groups))
    assert torch.equal(GFTLoss().trained(groups), ~equal)
    assert torch.equal(KLPenalty(GFTLoss(), 0.1).trained(groups), ones(groups))


@pytest.mark.parametrize("loss", [SFTLoss(), DFTLoss()])
def test_imitation_takes_demonstrations(loss: GroupLoss):
    groups, _ = reference.random_groups(2)
    assert torch.equal(loss.takes_part(groups), groups.source != Source.SELF)
    assert not loss.can_skip(groups).any()


def test_a_penalty_around_a_loss_is_a_sum_of_coefficients():
    groups, logprobs = reference.random_groups(3)
    ref = logprobs - 0.5 + torch.rand_like(logprobs)
    values = logprobs.clone().requires_grad_()
    loss = KLPenalty(GFTLoss(rectify="all"), 0.3, "reverse")(values, groups, ref_logprobs=ref)
    (gradient,) = torch.autograd.grad(loss, values)
    expected = torch.zeros_like(logprobs)
    total = int(groups.response_mask.sum())
    for n, t in groups.response_mask.nonzero().tolist():
        coefficient = reference.rectified(logprobs[n, t].exp().item(), 0.1)
        penalty = 0.3 * (logprobs[n, t] - ref[n, t])
        expected[n, t] = -(groups.advantages[n] * coefficient - penalty) / total
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-12)


def test_coefficients_are_asked_for_what_takes_part():
    class Own(Plain):
        def takes_part(self, groups: GroupBatch) -> Tensor:
            return groups.source == Source.SELF

    groups, logprobs = reference.random_groups(4)
    loss = Own()
    loss(logprobs, groups)
    [tokens] = loss.seen
    assert tokens.sequence.unique().tolist() == (groups.source == Source.SELF).nonzero()[:, 0].tolist()


@pytest.mark.parametrize("need", ["old_logprobs", "ref_logprobs", "teacher_logprobs", "entropy"])
def test_what_a_loss_needs_must_be_given(need: Need):
    groups, logprobs = reference.random_groups(4)
    loss, given = Plain(need), torch.randn_like(logprobs)
    with pytest.raises(ValueError, match=rf"^`Plain`: expected tokens with {need}, got None; give them as \[N, T\]"):
        loss(logprobs, groups)
    loss(logprobs, groups, **{need: given})
    assert torch.equal(getattr(loss.seen[0], need), given[groups.response_mask])


def test_several_missing_are_named_in_one_line():
    groups, logprobs = reference.random_groups(5)
    with pytest.raises(ValueError, match=r"expected tokens with entropy, old_logprobs, got None") as raised:
        Plain("old_logprobs", "entropy", "advantages")(logprobs, groups)
    assert "\n" not in str(raised.value)
    with pytest.raises(ValueError, match=r"expected tokens with old_logprobs, got None"):
        check_known(Plain("old_logprobs", "entropy"), groups.tokens(), later={"entropy"})


def test_a_name_that_nothing_has_is_refused():
    groups, logprobs = reference.random_groups(5)
    with pytest.raises(ValueError, match=r"`Plain.needs`: expected some of advantages, .*, got values; use") as raised:
        Plain("values")(logprobs, groups)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)


def test_the_log_ratio_of_a_response_follows_from_old_logprobs():
    groups, logprobs = reference.random_groups(6)
    old, loss = torch.randn_like(logprobs), Plain("sequence_logratio", "old_logprobs")
    loss(logprobs, groups, old_logprobs=old)
    ratio = [
        (logprobs[n][mask] - old[n][mask]).mean().item()
        for n, mask in enumerate(groups.response_mask)
        for _ in range(int(mask.sum()))
    ]
    assert loss.seen[0].sequence_logratio.tolist() == pytest.approx(ratio)
    with pytest.raises(ValueError, match=r"`old_logprobs`: expected a tensor \[m\] where sequence_logratio"):
        loss(logprobs, groups)


def counted(loss: GroupLoss, *parts: tuple[TokenBatch, Tensor]) -> dict[str, float]:
    """Return what a run reports of the weights of tokens with their coefficients, of all together."""
    statistics = CoefficientStatistics()
    for tokens, coefficients in parts:
        loss.update(tokens, coefficients)
        statistics.update(tokens.logprobs, loss.factors(tokens, coefficients))
    return {name: float(value) for name, value in statistics.compute().items()}


@pytest.mark.parametrize(
    ("rectifier", "coefficient"),
    [
        (lambda: DynamicCoefficientRectifier(0.5), lambda p: reference.rectified(p, 0.5)),
        (lambda: ContinuousCoefficientRectifier(0.4), lambda p: reference.continuous(p, 0.4)),
        (lambda: AdaptiveCoefficientRectifier(initial_threshold=0.6), lambda p: reference.rectified(p, 0.6)),
    ],
    ids=["dynamic", "continuous", "adaptive"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_gft_counts_what_was_used_and_no_token_without_advantage(rectifier, coefficient, dtype: torch.dtype):
    groups, logprobs = reference.random_groups(7, sizes=(4, 4, 4, 4), dtype=dtype)
    loss = GFTLoss(rectifier(), rectify="all")
    tokens = groups.tokens(logprobs[groups.response_mask])
    without = tokens.advantages == 0
    assert 0 < without.sum() < len(tokens)
    coefficients = loss.coefficients(tokens)
    loss.rectifier.rectify = lambda logprobs: pytest.fail("the coefficients are known")  # type: ignore[method-assign]
    halves = [(tokens[half], coefficients[half]) for half in (slice(0, 9), slice(9, None))]
    expected = reference.rectifier_statistics(tokens.logprobs[~without].tolist(), coefficient)
    assert counted(loss, *halves) == pytest.approx(expected, rel=1e-6)
    assert set(counted(loss, (tokens[without], coefficients[without])).values()) == {0.0}


def test_a_coefficient_of_1_is_recovered_from_any_advantage():
    # A * 1 / A is exactly 1: no token above the threshold counts as rectified.
    advantages = torch.randn(10_000, generator=torch.Generator().manual_seed(0))
    groups, _ = reference.random_groups(8)
    tokens = groups.tokens()[torch.zeros(10_000, dtype=torch.long)]
    tokens = replace(tokens, advantages=advantages, logprobs=torch.full((10_000,), -0.1))
    loss = GFTLoss()
    figures = counted(loss, (tokens, loss.coefficients(tokens)))
    assert figures["rectified_fraction"] == 0
    assert figures["coefficient_mean"] == 1


@pytest.mark.parametrize(("loss", "coefficient"), [(SFTLoss(), lambda p: 1.0), (DFTLoss(), lambda p: p)])
def test_of_imitation_the_same_is_reported_as_of_gft(loss: GroupLoss, coefficient):
    groups, logprobs = reference.random_groups(9)
    tokens = groups.tokens(logprobs[groups.response_mask])
    figures = counted(loss, (tokens, loss.coefficients(tokens)))
    assert figures == pytest.approx(reference.rectifier_statistics(tokens.logprobs.tolist(), coefficient))
    loss.step()  # nothing adapts


def test_an_objective_is_the_loss_as_the_policy_asks_for_it():
    groups, _ = reference.random_groups(10)
    loss = Plain("entropy")
    objective = loss.objective(groups.tokens(), 3.0)
    assert objective.needs == {"entropy"}
    assert objective.normalizer == 3.0
    assert objective.coefficients == loss.coefficients


@pytest.mark.parametrize("method", ["takes_part", "can_skip"])
@pytest.mark.parametrize(
    "chosen", [None, torch.ones(2, dtype=torch.bool), torch.ones(11)], ids=["none", "short", "float"]
)
def test_what_takes_part_is_a_boolean_a_sequence(method: str, chosen: Any, monkeypatch: pytest.MonkeyPatch):
    groups, _ = reference.random_groups(0)
    monkeypatch.setattr(GFTLoss, method, lambda self, groups: chosen)
    with pytest.raises(ValueError, match=rf"`GFTLoss\.{method}`: expected a tensor \[11\] of booleans"):
        GFTLoss().trained(groups)


def test_needs_are_a_set(monkeypatch: pytest.MonkeyPatch):
    groups, logprobs = reference.random_groups(0)
    monkeypatch.setattr(SFTLoss, "needs", lambda self: ["entropy"])
    with pytest.raises(TypeError, match=r"`SFTLoss\.needs`: expected a set of names, got \['entropy'\]"):
        SFTLoss()(logprobs, groups)


def test_one_coefficient_for_all_is_refused_outside_of_a_run_too(monkeypatch: pytest.MonkeyPatch):
    groups, logprobs = reference.random_groups(0)
    monkeypatch.setattr(SFTLoss, "coefficients", lambda self, tokens: torch.ones(1))
    with pytest.raises(ValueError, match="`coefficients`: expected a tensor"):
        SFTLoss()(logprobs, groups)
