from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from lightning_gft.functional import gft_loss, masked_loss
from lightning_gft.losses import DFTLoss, GFTLoss, GroupLoss, SFTLoss
from lightning_gft.rectifiers import (
    AdaptiveCoefficientRectifier,
    CoefficientRectifier,
    ContinuousCoefficientRectifier,
    DynamicCoefficientRectifier,
    IdentityRectifier,
)
from lightning_gft.types import GroupBatch, Source, TokenBatch
from tests import reference

REDUCTIONS = ["token-mean", "sequence-mean", "group-mean"]
LOSSES = {"sft": SFTLoss, "dft": DFTLoss, "gft": partial(GFTLoss, rectify="all")}
every_loss = pytest.mark.parametrize("kind", LOSSES)
every_reduction = pytest.mark.parametrize("reduction", REDUCTIONS)


class EntropyLoss(GroupLoss):
    """A custom objective: the gradient of ``p * log p`` summed over tokens, weighted by advantages."""

    def coefficients(self, tokens: TokenBatch) -> Tensor:
        return tokens.advantages * tokens.logprobs.exp() * (1 + tokens.logprobs)


def expected_loss(kind: str, logprobs: Tensor, groups: GroupBatch, reduction: str, threshold: float = 0.1) -> Tensor:
    """Return the same objective made of :func:`gft_loss` on the sequences that take part."""
    if kind != "gft":
        taken = groups.source != Source.SELF
        logprobs, groups = logprobs[taken], groups.select(taken.nonzero()[:, 0])
        logprobs = logprobs[:, : groups.input_ids.shape[1]]
        groups = replace(groups, advantages=torch.ones_like(groups.advantages))
        threshold = {"sft": 0.0, "dft": 2.0}[kind]
    return gft_loss(logprobs, groups.advantages, groups.response_mask, threshold, reduction, groups.group_index)


def with_gradient(loss: Tensor, logprobs: Tensor) -> tuple[Tensor, Tensor]:
    return loss.detach(), torch.autograd.grad(loss, logprobs)[0]


@every_loss
@every_reduction
@pytest.mark.parametrize("seed", range(3))
def test_forward_equals_the_function(kind: str, reduction: str, seed: int):
    groups, logprobs = reference.random_groups(seed)
    logprobs.requires_grad_()
    actual = with_gradient(LOSSES[kind](reduction=reduction)(logprobs, groups), logprobs)
    expected = with_gradient(expected_loss(kind, logprobs, groups, reduction), logprobs)
    assert expected[1].abs().max() > 0
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.5, 2.0])
def test_gft_takes_its_threshold_from_the_rectifier(threshold: float):
    groups, logprobs = reference.random_groups(1)
    loss = GFTLoss(DynamicCoefficientRectifier(threshold), rectify="all")(logprobs, groups)
    torch.testing.assert_close(loss, expected_loss("gft", logprobs, groups, "token-mean", threshold))


@pytest.mark.parametrize(
    ("rectifier", "coefficient"),
    [
        (IdentityRectifier(), lambda p: 1.0),
        (ContinuousCoefficientRectifier(0.4), lambda p: reference.continuous(p, 0.4)),
        (AdaptiveCoefficientRectifier(initial_threshold=0.4), lambda p: reference.rectified(p, 0.4)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_gft_with_any_rectifier(rectifier: CoefficientRectifier, coefficient):
    groups, logprobs = reference.random_groups(2)
    coefficients = torch.tensor([[coefficient(p) for p in row] for row in logprobs.exp().tolist()], dtype=torch.float64)
    terms = (groups.advantages[:, None] * coefficients * logprobs)[groups.response_mask]
    loss = GFTLoss(rectifier, rectify="all")(logprobs, groups)
    torch.testing.assert_close(loss, -terms.sum() / len(terms), rtol=0, atol=1e-12)


@every_reduction
def test_custom_subclass(reduction: str):
    groups, logprobs = reference.random_groups(3)
    logprobs.requires_grad_()
    loss, gradient = with_gradient(EntropyLoss(reduction)(logprobs, groups), logprobs)
    weights = reference.token_weights(groups.response_mask.tolist(), reduction, groups.group_index.tolist())
    scale = groups.advantages * torch.tensor(weights, dtype=torch.float64)
    p_log_p = (scale[:, None] * logprobs.exp() * logprobs)[groups.response_mask].sum()
    torch.testing.assert_close(gradient, torch.autograd.grad(-p_log_p, logprobs)[0], rtol=0, atol=1e-12)
    assert loss.isfinite()


def test_objective_without_coefficients_cannot_be_made():
    with pytest.raises(TypeError, match="coefficients"):
        GroupLoss()  # type: ignore[abstract]


@pytest.mark.parametrize("kind", ["sft", "dft"])
@every_reduction
@pytest.mark.parametrize("junk", [-5.0, float("nan"), -float("inf")])
def test_own_samples_take_no_part_in_imitation(kind: str, reduction: str, junk: float):
    groups, logprobs = reference.random_groups(4)
    own = groups.source == Source.SELF
    assert own.any()
    loss = LOSSES[kind](reduction=reduction)
    changed = torch.where(own[:, None], junk, logprobs).requires_grad_()
    actual, gradient = with_gradient(loss(changed, groups), changed)
    torch.testing.assert_close(actual, loss(logprobs, groups), rtol=0, atol=0)
    assert (gradient[own] == 0).all()
    weights, [count] = loss.reduce(groups)
    assert (weights[own] == 0).all()
    mask = groups.response_mask & ~own[:, None]
    present = mask.any(dim=1)
    expected = {
        "token-mean": mask.sum(),
        "sequence-mean": present.sum(),
        "group-mean": len(groups.group_index[present].unique()),
    }[reduction]
    assert count.item() == expected


@pytest.mark.parametrize("kind", ["sft", "dft"])
def test_imitation_ignores_rewards(kind: str):
    groups, logprobs = reference.random_groups(5)
    loss = LOSSES[kind]()
    other = replace(groups, advantages=groups.advantages * -3 + 1, rewards=groups.rewards + 9)
    assert loss(logprobs, groups) == loss(logprobs, other)


@every_loss
def test_only_own_samples_or_no_tokens_give_a_zero_that_can_be_backpropagated(kind: str):
    groups, logprobs = reference.random_groups(6)
    empty = replace(groups, response_mask=torch.zeros_like(groups.response_mask))
    if kind != "gft":
        own = replace(groups, source=torch.full_like(groups.source, Source.SELF))
        batches = [empty, own]
    else:
        batches = [empty]
    for batch in batches:
        loss, gradient = with_gradient(LOSSES[kind]()(logprobs.requires_grad_(), batch), logprobs)
        assert loss.item() == 0
        assert gradient.eq(0).all()


@every_loss
def test_trained_are_the_sequences_that_carry_a_gradient(kind: str):
    groups, logprobs = reference.random_groups(7)
    mask = groups.response_mask.clone()
    mask[[0, 1]] = False
    groups = replace(groups, response_mask=mask)
    logprobs.requires_grad_()
    loss = LOSSES[kind]()
    carries = with_gradient(loss(logprobs, groups), logprobs)[1].ne(0).any(dim=1)
    trained = loss.trained(groups)
    assert trained.dtype == torch.bool
    assert trained.tolist() == carries.tolist()
    assert 0 < trained.sum() < len(groups)


@every_loss
@every_reduction
def test_skipping_sequences_changes_nothing_if_the_count_is_kept(kind: str, reduction: str):
    groups, logprobs = reference.random_groups(8)
    logprobs.requires_grad_()
    loss = LOSSES[kind](reduction=reduction)
    whole = with_gradient(loss(logprobs, groups), logprobs)
    weights, [count] = loss.reduce(groups)
    rows = loss.trained(groups).nonzero()[:, 0]
    assert len(rows) < len(groups)
    kept = groups.select(rows)
    mask = kept.response_mask
    values = logprobs[rows][:, : mask.shape[1]]
    coefficients = torch.zeros_like(values)
    coefficients[mask] = loss.coefficients(kept.tokens(values.detach()[mask]))
    dropped = with_gradient(masked_loss(values, coefficients, mask, weights[rows], count), logprobs)
    torch.testing.assert_close(dropped, whole, rtol=0, atol=1e-12)


@every_loss
@every_reduction
def test_micro_batches_of_whole_groups_add_up(kind: str, reduction: str):
    groups, logprobs = reference.random_groups(9, sizes=(2, 3, 1, 4))
    loss = LOSSES[kind](reduction=reduction)
    total = count = 0.0
    for name in groups.group_index.unique():
        rows = (groups.group_index == name).nonzero()[:, 0]
        part = groups.select(rows)
        [share] = loss.reduce(part)[1]
        total = total + loss(logprobs[rows][:, : part.input_ids.shape[1]], part) * share
        count = count + share
    torch.testing.assert_close(total / count, loss(logprobs, groups), rtol=0, atol=1e-12)


@every_loss
@pytest.mark.parametrize("junk", [float("nan"), float("inf"), -float("inf")])
def test_values_outside_the_mask_never_matter(kind: str, junk: float):
    groups, clean = reference.random_groups(10)
    mask = groups.response_mask
    results = []
    for filler in (0.0, junk):
        logprobs = clean.masked_fill(~mask, filler).requires_grad_()
        results.append(with_gradient(LOSSES[kind]()(logprobs, groups), logprobs))
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=0)


@every_loss
def test_ends_of_the_probability_range_are_finite(kind: str):
    groups, logprobs = reference.random_groups(11)
    logprobs[:, ::2], logprobs[:, 1::2] = -torch.inf, 0.0
    loss, gradient = with_gradient(LOSSES[kind]()(logprobs.requires_grad_(), groups), logprobs)
    assert loss.isfinite()
    assert gradient.isfinite().all()


def many_tokens(logprob_dtype: torch.dtype, advantage_dtype: torch.dtype) -> tuple[GroupBatch, Tensor]:
    """Return 1001 response tokens of log-probability -1 and advantage 1; bf16 has no 1001."""
    mask = torch.ones(7, 144, dtype=torch.bool)
    mask[0, :7] = False
    groups = GroupBatch(
        input_ids=torch.zeros(7, 144, dtype=torch.long),
        attention_mask=torch.ones_like(mask),
        response_mask=mask,
        group_index=torch.zeros(7, dtype=torch.long),
        source=torch.zeros(7, dtype=torch.long),
        rewards=torch.ones(7, dtype=advantage_dtype),
        advantages=torch.ones(7, dtype=advantage_dtype),
        finished=torch.ones(7, dtype=torch.bool),
    )
    return groups, torch.full(mask.shape, -1.0, dtype=logprob_dtype)


@every_reduction
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_counts_are_exact_whatever_the_dtype_of_advantages(reduction: str, dtype: torch.dtype):
    groups, _ = many_tokens(torch.float32, dtype)
    weights, [count] = SFTLoss(reduction=reduction).reduce(groups)
    assert count.item() == {"token-mean": 1001, "sequence-mean": 7, "group-mean": 1}[reduction]
    assert (weights.double() @ groups.response_lengths.double() / count).item() == pytest.approx(1.0, abs=1e-6)


@every_reduction
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_half_precision_logprobs_are_summed_in_fp32(reduction: str, dtype: torch.dtype):
    groups, logprobs = many_tokens(dtype, torch.float32)
    loss = SFTLoss(reduction=reduction)(logprobs.requires_grad_(), groups)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(1.0, abs=1e-6)


def test_state_dict_of_a_loss_with_an_adaptive_rectifier_round_trips(tmp_path):
    trained, resumed = (GFTLoss(AdaptiveCoefficientRectifier(0.3, momentum=0.5)) for _ in range(2))
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        trained.rectifier.update(torch.rand(50, generator=generator).log())
        trained.rectifier.step()
    assert set(trained.state_dict()) == {"rectifier.threshold", "rectifier.num_steps"}
    torch.save(trained.state_dict(), tmp_path / "loss.pt")
    resumed.load_state_dict(torch.load(tmp_path / "loss.pt", weights_only=True))
    groups, logprobs = reference.random_groups(12)
    assert resumed(logprobs, groups) == trained(logprobs, groups)
    assert resumed(logprobs, groups) != GFTLoss()(logprobs, groups)
    for loss in (trained, resumed):  # and continues the same
        loss.rectifier.update(logprobs)
        loss.rectifier.step()
    assert resumed.rectifier.threshold == trained.rectifier.threshold


@every_loss
def test_fixed_losses_have_no_state(kind: str):
    assert LOSSES[kind]().state_dict() == {}
    assert list(LOSSES[kind]().parameters()) == []
