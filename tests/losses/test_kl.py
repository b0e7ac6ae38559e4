"""A penalty around any loss: whose gradient it is, and what the loss within hears."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_gft import AdaptiveCoefficientRectifier, CHORDLoss, GFTLoss, GroupLoss, GRPOLoss, KLPenalty, SFTLoss
from lightning_gft.types import GroupBatch, TokenBatch
from tests import reference
from tests.reference import objectives
from tests.reference.scenes import Scene


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """Return ``KL(p || q)`` of log-probabilities, over the whole vocabulary."""
    return (p.exp() * (p - q)).sum()


def each_token_once(logprobs: Tensor, ref: Tensor) -> TokenBatch:
    """Return one response of one token for each entry of a vocabulary."""
    tokens = reference.random_groups(0)[0].tokens()[torch.zeros(len(logprobs), dtype=torch.long)]
    return replace(tokens, logprobs=logprobs.detach(), ref_logprobs=ref)


class Nothing(GroupLoss):
    """A loss without a gradient."""

    def coefficients(self, tokens: TokenBatch) -> Tensor:
        return torch.zeros_like(tokens.logprobs)


@pytest.mark.parametrize(
    ("direction", "of"), [("forward", lambda p, q: divergence(q, p)), ("reverse", lambda p, q: divergence(p, q))]
)
@pytest.mark.parametrize("seed", range(3))
def test_on_own_samples_the_expected_gradient_is_that_of_the_divergence(
    direction: Any, of: Callable[[Tensor, Tensor], Tensor], seed: int
):
    generator = torch.Generator().manual_seed(seed)
    logits = (2 * torch.randn(7, dtype=torch.float64, generator=generator)).requires_grad_()
    ref = (2 * torch.randn(7, dtype=torch.float64, generator=generator)).log_softmax(dim=0)
    logprobs = logits.log_softmax(dim=0)
    coefficients = KLPenalty(Nothing(), 0.3, direction).coefficients(each_token_once(logprobs, ref))
    # The loss is -c log p of a token; each is drawn with its own probability.
    expectation = -(logprobs.detach().exp() * coefficients * logprobs).sum()
    expected = torch.autograd.grad(0.3 * of(logprobs, ref), logits, retain_graph=True)[0]
    torch.testing.assert_close(torch.autograd.grad(expectation, logits)[0], expected, rtol=0, atol=1e-12)
    assert expected.abs().max() > 1e-3


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_an_impossible_token_is_counted_and_leaves_coefficients_finite(direction: Any):
    loss, never = KLPenalty(Nothing(), 0.3, direction), torch.full((), -torch.inf)
    now, ref = torch.tensor([never, -1.0, never, -200.0]), torch.tensor([-1.0, never, never, -1.0])
    tokens = each_token_once(now, ref)
    coefficients = loss.coefficients(tokens)
    assert coefficients.isfinite().all()
    assert coefficients.sign().tolist() == [1, -1, 0, 1]  # back to where it was
    loss.update(tokens, coefficients)
    assert loss.compute()["kl"].isfinite()


@pytest.mark.parametrize(("direction", "estimate"), [("forward", objectives.k3), ("reverse", objectives.k2)])
@pytest.mark.parametrize("reduction", ["token-mean", "sequence-mean", "group-mean"])
def test_the_penalty_is_the_estimate_differentiated_beside_the_loss(direction: Any, estimate: Any, reduction: Any):
    scene = Scene(seed=1)
    loss = KLPenalty(SFTLoss(reduction), 0.2, direction)
    rows = SFTLoss().takes_part(scene.groups).nonzero()[:, 0].tolist()
    actual = loss(scene.logprobs, scene.groups, ref_logprobs=scene.ref)
    expected = -scene.mean(lambda _, r: objectives.likelihood(r) - 0.2 * estimate(r), rows, reduction)
    torch.testing.assert_close(scene.gradient(actual), scene.gradient(expected), rtol=0, atol=1e-12)


def test_around_grpo_it_is_grpo_with_a_penalty():
    scene = Scene(seed=2)
    rows = GRPOLoss().takes_part(scene.groups).nonzero()[:, 0].tolist()
    actual = KLPenalty(GRPOLoss(), 0.1)(scene.logprobs, scene.groups, old_logprobs=scene.old, ref_logprobs=scene.ref)
    expected = -scene.mean(lambda _, r: objectives.grpo(0.2)(r) - 0.1 * objectives.k3(r), rows, "sequence-mean")
    torch.testing.assert_close(scene.gradient(actual), scene.gradient(expected), rtol=0, atol=1e-12)
    equal = scene.groups.advantages == 0
    assert KLPenalty(GRPOLoss()).trained(scene.groups)[equal & GRPOLoss().takes_part(scene.groups)].all()


@pytest.mark.parametrize(
    "within", [SFTLoss(), GFTLoss(), GRPOLoss(), CHORDLoss(mu=0.3)], ids=lambda loss: type(loss).__name__
)
def test_without_weight_it_is_the_loss(within: GroupLoss):
    scene = Scene(seed=3)
    known = {"old_logprobs": scene.old} if "old_logprobs" in within.needs() else {}
    actual = KLPenalty(within, beta=0.0)(scene.logprobs, scene.groups, **known, ref_logprobs=scene.ref)
    expected = within(scene.logprobs, scene.groups, **known)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-14)
    torch.testing.assert_close(scene.gradient(actual), scene.gradient(expected), rtol=0, atol=1e-14)


def test_it_reports_the_mean_of_k3_and_what_the_loss_within_does():
    scene = Scene(seed=4)
    groups, mask = scene.groups, scene.groups.response_mask
    loss = KLPenalty(GFTLoss(AdaptiveCoefficientRectifier()), beta=0.5, direction="reverse")
    tokens = replace(groups.tokens(scene.logprobs[mask]), ref_logprobs=scene.ref[mask])
    for half in (slice(0, 20), slice(20, None)):
        loss.update(tokens[half], loss.coefficients(tokens[half]))
    figures = loss.compute()
    k3 = torch.cat([objectives.k3(scene.response(n)) for n in range(len(groups))])
    assert figures.pop("kl") == pytest.approx(k3.mean().item())
    alone = GFTLoss(AdaptiveCoefficientRectifier())
    alone.update(tokens, alone.coefficients(tokens))
    assert figures == alone.compute() == {"threshold": 0.7}
    alone.step()
    loss.step()
    assert loss.compute()["threshold"] == alone.compute()["threshold"] != 0.7
    loss.reset()
    assert loss.compute()["kl"] == 0


def test_the_loss_within_adapts_begins_ends_and_is_asked_about_sources():
    heard: list[str] = []

    class Heard(GFTLoss):
        def setup(self) -> None:
            heard.append("setup")

        def close(self) -> None:
            heard.append("close")

        def update_groups(self, groups: GroupBatch) -> None:
            heard.append("groups")

    within = Heard(AdaptiveCoefficientRectifier(0.3))
    loss, scene = KLPenalty(within), Scene()
    mask = scene.groups.response_mask
    tokens = replace(scene.groups.tokens(scene.logprobs[mask]), ref_logprobs=scene.ref[mask])
    loss.setup()
    loss.update_groups(scene.groups)
    loss.update(tokens, loss.coefficients(tokens))
    loss.step()
    loss.close()
    assert within.rectifier.num_steps == 1
    assert heard == ["setup", "groups", "close"]
    with pytest.raises(ValueError, match="expected demonstrations for SFTLoss"):
        KLPenalty(SFTLoss()).check_group(num_responses=4, num_own=4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beta": -0.1}, "`beta` of KLPenalty: expected a number of at least 0, got -0.1"),
        ({"beta": float("inf")}, "`beta` of KLPenalty: expected a number of at least 0, got inf"),
        ({"direction": "k3"}, "`direction`: expected forward or reverse, got 'k3'; choose one"),
    ],
)
def test_bad_settings_are_one_line(settings: dict[str, Any], message: str):
    with pytest.raises(ValueError) as raised:
        KLPenalty(SFTLoss(), **settings)
    assert str(raised.value) == message
