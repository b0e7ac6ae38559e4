"""The head's products are those of plain matrix multiplication, over more than one tile of the vocabulary."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lightning_gft.functional.head.products import _TILE, add_weight_gradient, hidden_gradient, project

V = 2 * _TILE + 3
every_dtype = pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)


def draw(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(len(shape))).to(dtype)


def assert_close(actual: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    tolerance = 16 * torch.finfo(dtype).eps
    assert (actual.double() - expected).norm() <= tolerance * expected.norm()


@every_dtype
@pytest.mark.parametrize("with_bias", [False, True])
def test_projection_is_written_into_the_rows_given(dtype: torch.dtype, with_bias: bool):
    hidden, weight, bias = draw(3, 8, dtype=dtype), draw(V, 8, dtype=dtype), draw(V, dtype=dtype)
    buffer = torch.full((4, V), 7.0, dtype=dtype)
    project(hidden, weight, bias if with_bias else None, out=buffer[:3])
    expected = hidden.double() @ weight.double().mT + (bias.double() if with_bias else 0)
    assert_close(buffer[:3], expected, dtype)
    assert buffer[3].eq(7).all()


@every_dtype
def test_gradients(dtype: torch.dtype):
    gradient, weight, hidden = draw(3, V, dtype=dtype), draw(V, 8, dtype=dtype), draw(3, 8, dtype=dtype)
    assert_close(hidden_gradient(gradient, weight), gradient.double() @ weight.double(), dtype)
    total = torch.zeros(V, 8, dtype=torch.promote_types(dtype, torch.float32))
    for _ in range(3):
        add_weight_gradient(total, gradient, hidden)
    assert_close(total, 3 * gradient.double().mT @ hidden.double(), dtype)
