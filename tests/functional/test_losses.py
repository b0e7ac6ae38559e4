from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from lightning_gft.functional import gft_loss, masked_loss, token_logprobs
from tests import reference

REDUCTIONS = ["token-mean", "sequence-mean", "group-mean"]


def with_gradient(loss: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    return loss.detach(), *torch.autograd.grad(loss, inputs)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_loss_and_gradient_agree_with_loops(reduction: str, threshold: float, seed: int):
    groups, logprobs = reference.random_groups(seed)
    logprobs.requires_grad_()
    loss = gft_loss(logprobs, groups.advantages, groups.response_mask, threshold, reduction, groups.group_index)
    loss, gradient = with_gradient(loss, logprobs)
    known = (
        groups.advantages.tolist(),
        groups.response_mask.tolist(),
        threshold,
        reduction,
        groups.group_index.tolist(),
    )
    assert loss.item() == pytest.approx(reference.gft_loss(logprobs.tolist(), *known), abs=1e-10)
    expected = torch.tensor(reference.gft_gradient(logprobs.tolist(), *known), dtype=torch.float64)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_gradient_agrees_with_finite_differences_of_frozen_coefficients(reduction: str):
    groups, logprobs = reference.random_groups(4, sizes=(2, 3), length=6)
    mask, index = groups.response_mask, groups.group_index
    weights = reference.token_weights(mask.tolist(), reduction, index.tolist())
    frozen = [
        [-w * a * reference.rectified(p, 0.7) if taken else 0.0 for p, taken in zip(probs, row, strict=True)]
        for w, a, probs, row in zip(
            weights, groups.advantages.tolist(), logprobs.exp().tolist(), mask.tolist(), strict=True
        )
    ]

    def loss_of(values) -> float:
        return sum(c * v for cs, vs in zip(frozen, values, strict=True) for c, v in zip(cs, vs, strict=True))

    logprobs.requires_grad_()
    loss, gradient = with_gradient(gft_loss(logprobs, groups.advantages, mask, 0.7, reduction, index), logprobs)
    assert loss.item() == pytest.approx(loss_of(logprobs.tolist()), abs=1e-10)
    expected = torch.tensor(reference.finite_differences(loss_of, logprobs.tolist()), dtype=torch.float64)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-10)


def test_masked_loss_gradcheck():
    groups, logprobs = reference.random_groups(2)
    coefficients = torch.randn(logprobs.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    weights = torch.rand(len(groups), dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    count = torch.tensor(17.0, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda x: masked_loss(x, coefficients, groups.response_mask, weights, count), logprobs.requires_grad_()
    )


def test_only_logprobs_get_a_gradient():
    groups, logprobs = reference.random_groups()
    advantages, logprobs = groups.advantages.requires_grad_(), logprobs.requires_grad_()
    gft_loss(logprobs, advantages, groups.response_mask).backward()
    assert logprobs.grad is not None
    assert advantages.grad is None


@pytest.mark.parametrize(
    ("dtype", "loss_dtype"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
    ids=str,
)
@pytest.mark.parametrize("advantage_dtype", [torch.int64, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_dtypes(dtype: torch.dtype, loss_dtype: torch.dtype, advantage_dtype: torch.dtype):
    groups, logprobs = reference.random_groups()
    logprobs = logprobs.to(dtype).requires_grad_()
    advantages = groups.advantages.mul(3).round().to(advantage_dtype)
    loss, gradient = with_gradient(gft_loss(logprobs, advantages, groups.response_mask, 0.3), logprobs)
    assert (loss.dtype, gradient.dtype) == (loss_dtype, dtype)
    known = (advantages.tolist(), groups.response_mask.tolist(), 0.3, "token-mean", groups.group_index.tolist())
    rounding = {"rtol": torch.finfo(dtype).eps, "atol": 1e-6}
    assert loss.item() == pytest.approx(reference.gft_loss(logprobs.double().tolist(), *known), abs=1e-6)
    expected = torch.tensor(reference.gft_gradient(logprobs.double().tolist(), *known), dtype=torch.float64)
    torch.testing.assert_close(gradient.double(), expected, **rounding)


@pytest.mark.parametrize("mask_dtype", [torch.bool, torch.int64, torch.float32], ids=str)
def test_mask_of_any_dtype(mask_dtype: torch.dtype):
    groups, logprobs = reference.random_groups()
    loss = gft_loss(logprobs, groups.advantages, groups.response_mask.to(mask_dtype))
    assert loss == gft_loss(logprobs, groups.advantages, groups.response_mask)


def test_bf16_with_many_tokens_is_summed_in_fp32():
    # In bf16 a count of 1001 does not exist, and a running sum stops growing early.
    logprobs = torch.full((7, 144), -1.0, dtype=torch.bfloat16)
    mask = torch.ones(7, 144, dtype=torch.bool)
    mask[0, :7] = False
    assert gft_loss(logprobs, torch.ones(7), mask, threshold=0.0).item() == pytest.approx(1.0, abs=1e-6)


class TestLimits:
    """Known objectives that the loss turns into."""

    def logits(self) -> tuple[Tensor, Tensor, Tensor]:
        generator = torch.Generator().manual_seed(7)
        logits = (2 * torch.randn(3, 6, 11, dtype=torch.float64, generator=generator)).requires_grad_()
        targets = torch.randint(0, 11, (3, 6), generator=generator)
        mask = torch.rand(3, 6, generator=generator) < 0.7
        return logits, targets, mask

    def test_threshold_0_is_supervised_fine_tuning(self):
        logits, targets, mask = self.logits()
        sft = cross_entropy(logits[mask], targets[mask])
        gft = gft_loss(token_logprobs(logits, targets), torch.ones(3), mask, threshold=0.0)
        for actual, expected in zip(with_gradient(gft, logits), with_gradient(sft, logits), strict=True):
            torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)

    def test_threshold_0_weights_inverse_probabilities(self):
        logits, targets, mask = self.logits()
        probs = logits.softmax(-1).gather(-1, targets[..., None])[..., 0].detach().requires_grad_()
        gradient = with_gradient(gft_loss(probs.log(), torch.ones(3), mask, threshold=0.0), probs)[1]
        torch.testing.assert_close(gradient, torch.where(mask, -1 / probs / mask.sum(), 0.0).detach())

    def test_threshold_above_1_is_dynamic_fine_tuning(self):
        logits, targets, mask = self.logits()
        nll = cross_entropy(logits[mask], targets[mask], reduction="none")
        dft = ((-nll).exp().detach() * nll).mean()
        gft = gft_loss(token_logprobs(logits, targets), torch.ones(3), mask, threshold=1.5)
        for actual, expected in zip(with_gradient(gft, logits), with_gradient(dft, logits), strict=True):
            torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    @pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.7, 0.9])
    def test_probability_at_the_threshold_keeps_1(self, dtype: torch.dtype, threshold: float):
        logprobs = torch.tensor([[threshold, threshold * 0.999]], dtype=dtype).log().requires_grad_()
        loss = gft_loss(logprobs, torch.ones(1, dtype=dtype), torch.ones(1, 2, dtype=torch.bool), threshold)
        at, below = (-2 * with_gradient(loss, logprobs)[1][0]).tolist()
        assert at == 1.0
        assert below == pytest.approx(0.999 * threshold, rel=1e-5)

    @pytest.mark.parametrize("reduction", REDUCTIONS)
    def test_threshold_0_on_own_samples_is_an_on_policy_step_of_grpo(self, reduction: str):
        groups, logprobs = reference.random_groups(6)
        logprobs.requires_grad_()
        mask, advantages = groups.response_mask, groups.advantages[:, None]
        ratio = (logprobs - logprobs.detach()).exp()
        surrogate = torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.28) * advantages)
        weights = torch.tensor(
            reference.token_weights(mask.tolist(), reduction, groups.group_index.tolist()), dtype=torch.float64
        )
        grpo = -(surrogate * mask * weights[:, None]).sum()
        gft = gft_loss(logprobs, groups.advantages, mask, 0.0, reduction, groups.group_index)
        torch.testing.assert_close(
            with_gradient(gft, logprobs)[1], with_gradient(grpo, logprobs)[1], rtol=0, atol=1e-12
        )


@pytest.mark.parametrize("threshold", [0.0, 0.7, 2.0])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("advantage", [-1.0, 0.0, 1.0])
def test_ends_of_the_probability_range_are_finite(threshold: float, dtype: torch.dtype, advantage: float):
    logprobs = torch.tensor([[-torch.inf, 0.0, -1.0, -1e5]], dtype=dtype, requires_grad=True)
    loss, gradient = with_gradient(
        gft_loss(logprobs, torch.tensor([advantage]), torch.ones(1, 4, dtype=torch.bool), threshold), logprobs
    )
    assert loss.isfinite()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("threshold", [0.0, 0.7, 2.0])
def test_ruled_out_and_certain_tokens_give_finite_gradients_of_logits(threshold: float):
    logits = torch.tensor(
        [[[0.0, -torch.inf, 1.0], [5.0, -torch.inf, -torch.inf], [0.0, 1.0, 2.0]]], requires_grad=True
    )
    logprobs = token_logprobs(logits, torch.tensor([[1, 0, 2]]))
    assert logprobs[0, :2].tolist() == [-torch.inf, 0.0]
    mask = torch.ones(1, 3, dtype=torch.bool)
    loss, gradient = with_gradient(gft_loss(logprobs, torch.ones(1), mask, threshold), logits)
    assert loss.isfinite()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("junk", [float("nan"), float("inf"), -float("inf"), 1e30])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_values_outside_the_mask_never_matter(junk: float, reduction: str):
    groups, clean = reference.random_groups(5)
    mask = groups.response_mask
    results = []
    for logprobs in (clean.masked_fill(~mask, 0.0), clean.masked_fill(~mask, junk)):
        logprobs.requires_grad_()
        loss = gft_loss(logprobs, groups.advantages, mask, 0.7, reduction, groups.group_index)
        results.append(with_gradient(loss, logprobs))
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=0)
    assert (results[1][1][~mask] == 0).all()


@pytest.mark.parametrize("junk", [float("nan"), float("inf")])
def test_coefficients_outside_the_mask_never_matter(junk: float):
    groups, logprobs = reference.random_groups(5)
    mask = groups.response_mask
    coefficients = torch.randn(logprobs.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weights, count = torch.ones(len(groups), dtype=torch.float64), torch.tensor(9.0, dtype=torch.float64)
    expected = masked_loss(logprobs, coefficients, mask, weights, count)
    logprobs = logprobs.masked_fill(~mask, junk).requires_grad_()
    loss, gradient = with_gradient(
        masked_loss(logprobs, coefficients.masked_fill(~mask, junk), mask, weights, count), logprobs
    )
    assert loss == expected
    assert gradient.isfinite().all()


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(2, 3), (0, 3), (2, 0)], ids=str)
def test_no_response_tokens_give_a_zero_that_can_be_backpropagated(reduction: str, shape):
    logprobs = torch.full(shape, float("nan"), requires_grad=True)
    loss = gft_loss(
        logprobs, torch.ones(shape[0]), torch.zeros(shape, dtype=torch.bool), 0.7, reduction, torch.arange(shape[0])
    )
    loss, gradient = with_gradient(loss, logprobs)
    assert loss.item() == 0
    assert gradient.eq(0).all()


@pytest.mark.parametrize(
    ("logprobs", "advantages", "mask"),
    [((2, 3), (2,), (2, 4)), ((2, 3), (3,), (2, 3)), ((6,), (6,), (6,)), ((2, 3), (2, 3), (2, 3))],
    ids=str,
)
def test_wrong_shapes_are_named(logprobs, advantages, mask):
    with pytest.raises(
        ValueError, match=r"`logprobs`, `advantages`, `response_mask`: expected \[N, T\], \[N\] and \[N, T\]"
    ):
        gft_loss(torch.zeros(logprobs), torch.zeros(advantages), torch.ones(mask, dtype=torch.bool))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"threshold": -1.0}, "`threshold`: expected a number of at least 0, got -1.0"),
        ({"threshold": float("nan")}, "`threshold`: expected a number of at least 0, got nan"),
        ({"reduction": "sum"}, "`reduction`: expected token-mean, .* or constant-length, got 'sum'"),
        ({"reduction": "group-mean"}, "group_index"),
    ],
    ids=str,
)
def test_bad_arguments_are_named(arguments, words: str):
    with pytest.raises(ValueError, match=words):
        gft_loss(torch.zeros(1, 2), torch.ones(1), torch.ones(1, 2, dtype=torch.bool), **arguments)
