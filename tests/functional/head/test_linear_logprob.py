from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_gft.functional import linear_logprob_loss
from lightning_gft.functional.head import kernels
from lightning_gft.functional.head.linear_head import LinearHead
from lightning_gft.functional.head.linear_logprob import head_loss
from tests import reference
from tests.conftest import quick
from tests.functional.head.linear_inputs import (
    ADVANTAGES,
    COEFFICIENTS,
    M,
    every_head,
    inputs,
    leaves,
    with_and_without_bias,
)


@every_head
@with_and_without_bias
@pytest.mark.parametrize("coefficients", COEFFICIENTS.values(), ids=COEFFICIENTS.keys())
@pytest.mark.parametrize("chunk_size", quick([1, 4, M, M + 100, None], 4, None))
def test_equals_autograd_through_full_logits(head, with_bias: bool, coefficients, chunk_size: int | None):
    given = inputs(with_bias=with_bias)
    loss, logprobs, entropies = linear_logprob_loss(
        **given, coefficients=coefficients, chunk_size=chunk_size, entropy=True, **head
    )
    gradients = torch.autograd.grad(3 * loss, leaves(given))
    logits = reference.full_logits(given["hidden"], given["weight"], given["bias"], **head)
    expected = reference.full_logits_loss(logits, given["targets"], lambda lp: coefficients(lp, slice(None)))
    expected_gradients = torch.autograd.grad(3 * expected[0], leaves(given))
    for a, b in zip((loss, logprobs, entropies, *gradients), (*expected, *expected_gradients), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


@every_head
@with_and_without_bias
@pytest.mark.parametrize("chunk_size", quick([1, 3, 100], 3))
@pytest.mark.parametrize("number", [0, 5])
def test_gradcheck_with_constant_coefficients(head, with_bias: bool, chunk_size: int, number: int):
    given = inputs(number, with_bias=with_bias)
    names = [name for name in ("hidden", "weight", "bias") if given[name] is not None]

    def loss(*tensors: Tensor) -> Tensor:
        changed = given | dict(zip(names, tensors, strict=True))
        return linear_logprob_loss(
            **changed, coefficients=lambda lp, index: ADVANTAGES[:number][index], chunk_size=chunk_size, **head
        )[0]

    assert torch.autograd.gradcheck(loss, tuple(leaves(given)))


@with_and_without_bias
def test_no_tokens_give_a_zero_that_can_be_backpropagated(with_bias: bool):
    given = inputs(0, with_bias=with_bias)
    loss, logprobs, entropies = linear_logprob_loss(**given, coefficients=COEFFICIENTS["dft"], entropy=True)
    assert loss.item() == 0
    assert logprobs.shape == entropies.shape == (0,)
    for leaf, gradient in zip(leaves(given), torch.autograd.grad(loss, leaves(given)), strict=True):
        assert gradient.shape == leaf.shape
        assert gradient.eq(0).all()


def test_each_token_reaches_the_coefficients_once_in_order_and_detached():
    seen: list[tuple[int, int]] = []

    def coefficients(logprobs: Tensor, index: slice) -> Tensor:
        rows = range(M)[index]
        seen.append((rows.start, rows.stop))
        assert len(logprobs) == len(rows)
        assert not logprobs.requires_grad
        return torch.ones_like(logprobs)

    linear_logprob_loss(**inputs(), coefficients=coefficients, chunk_size=5)
    assert seen == [(0, 5), (5, 10), (10, 13)]


@every_head
def test_a_coefficient_that_carries_a_gradient_is_taken_as_a_number(head):
    given, scale = inputs(), torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    loss = linear_logprob_loss(**given, coefficients=lambda lp, index: scale * lp.exp(), **head)[0]
    loss.backward()
    assert scale.grad is None


@pytest.mark.parametrize("frozen", ["hidden", "weight", "bias"])
def test_frozen_tensor_gets_no_gradient_and_the_others_the_same(frozen: str):
    expected, given = inputs(), inputs()
    given[frozen].requires_grad_(False)
    for tensors in (expected, given):
        linear_logprob_loss(**tensors, coefficients=COEFFICIENTS["gft"], chunk_size=4)[0].backward()
    for name in ("hidden", "weight", "bias"):
        if name == frozen:
            assert given[name].grad is None
        else:
            torch.testing.assert_close(given[name].grad, expected[name].grad, rtol=0, atol=0)


class Operations(TorchDispatchMode):
    """Counts matrix products and notes the largest tensor that any operation returned."""

    def __init__(self) -> None:
        super().__init__()
        self.products = 0
        self.names: Counter[str] = Counter()
        self.largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        self.names[name] += 1
        self.products += name.rstrip("_") in ("mm", "addmm", "linear", "matmul")
        for tensor in result if isinstance(result, tuple) else (result,):
            if isinstance(tensor, Tensor):
                self.largest = max(self.largest, tensor.numel())
        return result


@contextmanager
def counted_operations() -> Iterator[Operations]:
    with Operations() as operations:
        yield operations


@pytest.mark.parametrize(
    ("trained", "products_a_chunk"), [(("hidden", "weight"), 3), (("hidden",), 2), (("weight",), 2), ((), 1)], ids=str
)
@pytest.mark.parametrize("grad_enabled", [True, False])
def test_forms_no_product_that_is_not_needed(trained, products_a_chunk: int, grad_enabled: bool):
    given = inputs(with_bias=False)
    for name in ("hidden", "weight"):
        given[name].requires_grad_(name in trained)
    with torch.set_grad_enabled(grad_enabled), counted_operations() as operations:
        loss = linear_logprob_loss(**given, coefficients=COEFFICIENTS["gft"], chunk_size=4)[0]
    assert operations.products == 4 * (products_a_chunk if grad_enabled else 1)
    assert loss.requires_grad == (grad_enabled and bool(trained))


@pytest.mark.parametrize("kept", [[], [4], [0, 1, 6, 12]], ids=str)
@pytest.mark.parametrize("block_elements", [1, 2**20])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_tokens_with_coefficient_0_are_left_out_of_the_gradient(
    kept: list[int], block_elements: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(kernels, "_BLOCK_ELEMENTS", block_elements)
    given, scale = inputs(dtype=dtype), torch.zeros(M, dtype=torch.float64)
    scale[kept] = ADVANTAGES[kept]
    loss = linear_logprob_loss(**given, coefficients=lambda lp, index: scale[index], chunk_size=8)[0]
    gradients = torch.autograd.grad(loss, leaves(given))
    logits = reference.full_logits(given["hidden"], given["weight"], given["bias"])
    expected = torch.autograd.grad(
        reference.full_logits_loss(logits, given["targets"], lambda lp: scale)[0], leaves(given)
    )
    tolerance = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 5e-2}[dtype]
    for a, b in zip(gradients, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance if dtype == torch.bfloat16 else 0, atol=tolerance)


def test_backward_projects_nothing_again_and_no_tensor_holds_all_logits():
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(64, 3, generator=generator, requires_grad=True)
    weight = torch.randn(100, 3, generator=generator, requires_grad=True)
    with counted_operations() as operations:
        loss, _, _ = linear_logprob_loss(
            hidden, weight, torch.arange(64), COEFFICIENTS["dft"], chunk_size=8, entropy=True
        )
    assert 8 * 100 <= operations.largest < 64 * 100
    with counted_operations() as operations:
        loss.backward()
    assert operations.products == 0
    assert operations.largest <= weight.numel()


@torch.no_grad()
def test_values_without_gradient_are_the_same():
    given = inputs()
    with torch.enable_grad():
        expected = linear_logprob_loss(**given, coefficients=COEFFICIENTS["gft"], entropy=True)
    actual = linear_logprob_loss(**given, coefficients=COEFFICIENTS["gft"], entropy=True)
    for a, b in zip(actual, expected, strict=True):
        assert not a.requires_grad
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_gradient_flows_through_the_loss_alone():
    loss, logprobs, entropies = linear_logprob_loss(**inputs(), coefficients=COEFFICIENTS["gft"], entropy=True)
    assert loss.requires_grad
    assert not logprobs.requires_grad
    assert not entropies.requires_grad


def test_entropy_is_formed_only_if_asked_for():
    assert linear_logprob_loss(**inputs(), coefficients=COEFFICIENTS["gft"])[2] is None


def test_coefficients_may_depend_on_entropies():
    given = inputs()

    def coefficients(logprobs: Tensor, entropies: Tensor | None, index: slice) -> Tensor:
        assert not entropies.requires_grad
        return entropies * ADVANTAGES[index]

    arguments = [given[name] for name in ("hidden", "weight", "bias", "targets")]
    loss, _, entropies = head_loss(*arguments, coefficients, LinearHead(), entropy=True, chunk_size=4)
    gradients = torch.autograd.grad(loss, leaves(given))
    logits = reference.full_logits(given["hidden"], given["weight"], given["bias"])
    expected, _, expected_entropies = reference.full_logits_loss(
        logits, given["targets"], lambda _: entropies * ADVANTAGES
    )
    torch.testing.assert_close((loss, entropies), (expected, expected_entropies), rtol=0, atol=1e-10)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, leaves(given)), rtol=0, atol=1e-10)


def test_scaling_the_loss_scales_the_gradient_and_backward_may_run_again():
    given = inputs()
    loss = linear_logprob_loss(**given, coefficients=COEFFICIENTS["gft"])[0]
    once = torch.autograd.grad(loss, leaves(given), retain_graph=True)
    scaled = torch.autograd.grad(loss / 8, leaves(given), retain_graph=True)
    again = torch.autograd.grad(loss, leaves(given))
    for a, b, c in zip(once, scaled, again, strict=True):
        torch.testing.assert_close((a, a), (8 * b, c), rtol=0, atol=1e-14)


def test_graph_that_is_not_kept_gives_its_gradient_without_a_copy():
    given = inputs(with_bias=False)
    loss = linear_logprob_loss(**given, coefficients=COEFFICIENTS["gft"])[0]
    with counted_operations() as operations:
        (loss / 8).backward()
    assert operations.names["mul"] == 0
    assert operations.names["mul_"] == 2
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


@pytest.mark.parametrize(
    ("hidden", "weight", "targets"),
    [((3, 4), (5, 6), (3,)), ((3, 4), (5, 4), (2,)), ((1, 3, 4), (5, 4), (1, 3)), ((3, 4), (4,), (3,))],
    ids=str,
)
def test_wrong_shapes_are_named(hidden, weight, targets):
    with pytest.raises(ValueError, match=r"`targets`: expected \[M, H\], \[V, H\] and \[M\]"):
        linear_logprob_loss(
            torch.zeros(hidden), torch.zeros(weight), torch.zeros(targets, dtype=torch.long), COEFFICIENTS["sft"]
        )


def test_chunk_size_below_1_is_refused():
    # range() with a negative step would skip every token and return uninitialised memory.
    with pytest.raises(ValueError, match=r"`chunk_size`: expected a whole number of at least 1, .*got -1"):
        linear_logprob_loss(**inputs(), coefficients=COEFFICIENTS["sft"], chunk_size=-1)


@pytest.mark.parametrize("length", [1, 18])
def test_a_bias_of_another_length_is_named(length: int):
    given = {**inputs(), "bias": torch.zeros(length, dtype=torch.float64)}
    with pytest.raises(ValueError, match=rf"`bias`: expected .* got \({length},\) for \(17, 5\)"):
        linear_logprob_loss(**given, coefficients=COEFFICIENTS["sft"])


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_a_temperature_that_is_not_above_0_is_refused(temperature: float):
    with pytest.raises(ValueError, match=f"`temperature`: expected a number above 0, got {temperature}"):
        linear_logprob_loss(**inputs(), coefficients=COEFFICIENTS["sft"], temperature=temperature)
