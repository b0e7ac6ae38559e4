from __future__ import annotations

import pytest
import torch

from lightning_gft.functional import linear_logprob_loss
from tests.functional.head.linear_inputs import COEFFICIENTS, every_head, inputs, leaves, with_and_without_bias


@every_head
@with_and_without_bias
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_lower_precision_is_close_and_keeps_its_dtypes(head, with_bias: bool, dtype: torch.dtype):
    exact, given = inputs(with_bias=with_bias), inputs(dtype=dtype, with_bias=with_bias)
    results = []
    for tensors in (exact, given):
        loss, logprobs, entropies = linear_logprob_loss(
            **tensors, coefficients=COEFFICIENTS["constant"], chunk_size=4, entropy=True, **head
        )
        results.append([loss, logprobs, entropies, *torch.autograd.grad(loss, leaves(tensors))])
    assert [value.dtype for value in results[1][:3]] == [torch.float32] * 3
    assert all(gradient.dtype == dtype for gradient in results[1][3:])
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    for a, b in zip(results[1], results[0], strict=True):
        assert (a.double() - b).norm() <= tolerance * b.norm()


def test_many_bf16_chunks_are_summed_in_fp32():
    # 2000 equal tokens: a bf16 sum of their weight gradients would stop growing at 256.
    number = 2000
    hidden = torch.ones(number, 1, dtype=torch.bfloat16)
    weight = torch.zeros(2, 1, dtype=torch.bfloat16, requires_grad=True)
    bias = torch.zeros(2, dtype=torch.bfloat16, requires_grad=True)
    loss, _, _ = linear_logprob_loss(
        hidden,
        weight,
        torch.zeros(number, dtype=torch.long),
        lambda lp, index: torch.ones_like(lp),
        bias=bias,
        chunk_size=1,
    )
    loss.backward()
    assert loss.item() == pytest.approx(number * torch.tensor(2.0).log().item(), rel=1e-4)
    torch.testing.assert_close(weight.grad.flatten().float(), torch.tensor([-1000.0, 1000.0]), rtol=0.01, atol=0)
    torch.testing.assert_close(bias.grad.float(), torch.tensor([-1000.0, 1000.0]), rtol=0.01, atol=0)


@with_and_without_bias
def test_autocast(with_bias: bool):
    given = inputs(dtype=torch.float32, with_bias=with_bias)
    expected = linear_logprob_loss(**given, coefficients=COEFFICIENTS["constant"], entropy=True)
    expected_gradients = torch.autograd.grad(expected[0], leaves(given))
    with torch.autocast("cpu", torch.bfloat16):
        actual = linear_logprob_loss(**given, coefficients=COEFFICIENTS["constant"], entropy=True)
    gradients = torch.autograd.grad(actual[0], leaves(given))
    for a, b in zip((*actual, *gradients), (*expected, *expected_gradients), strict=True):
        assert a.dtype == torch.float32
        assert (a - b).norm() <= 0.05 * b.norm()
    assert not torch.equal(actual[1], expected[1])  # the product did run in bf16


def test_autocast_takes_tensors_of_different_precision():
    given = inputs(dtype=torch.float32)
    given["hidden"] = given["hidden"].detach().bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = linear_logprob_loss(**given, coefficients=COEFFICIENTS["constant"])[0]
    gradients = torch.autograd.grad(loss, leaves(given))
    assert [gradient.dtype for gradient in gradients] == [torch.bfloat16, torch.float32, torch.float32]


@pytest.mark.parametrize("coefficient", [0.0, 1.0, -1.0])
@pytest.mark.parametrize("softcap", [None, 30.0])
def test_ruled_out_and_certain_tokens_are_finite(coefficient: float, softcap: float | None):
    hidden = torch.ones(2, 1, dtype=torch.float64, requires_grad=True)
    weight = torch.zeros(3, 1, dtype=torch.float64, requires_grad=True)
    bias = torch.tensor([0.0, -torch.inf if softcap is None else -1e30, -1e4], dtype=torch.float64)
    loss, logprobs, entropies = linear_logprob_loss(
        hidden,
        weight,
        torch.tensor([1, 0]),
        lambda lp, index: torch.full_like(lp, coefficient),
        bias=bias,
        softcap=softcap,
        entropy=True,
    )
    loss.backward()
    assert loss.isfinite()
    assert entropies.isfinite().all()
    assert hidden.grad.isfinite().all()
    assert weight.grad.isfinite().all()
    if softcap is None:
        assert logprobs.tolist() == [-torch.inf, 0.0]
