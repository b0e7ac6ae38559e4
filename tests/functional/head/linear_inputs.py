"""Heads, coefficients and tensors that the tests of the one-pass head share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_gft.functional import continuous_coefficients, rectified_coefficients

M, H, V = 13, 5, 17

HEADS: dict[str, dict[str, float]] = {
    "plain": {},
    "softcap": {"softcap": 1.5},
    "logit-scale": {"logit_scale": 0.3},
    "temperature": {"temperature": 1.7},
    "all": {"softcap": 2.0, "logit_scale": 1.6, "temperature": 0.6},
}
every_head = pytest.mark.parametrize("head", HEADS.values(), ids=HEADS.keys())
with_and_without_bias = pytest.mark.parametrize("with_bias", [False, True], ids=["no-bias", "bias"])

_per_token = torch.Generator().manual_seed(5)
ADVANTAGES = torch.randn(M, dtype=torch.float64, generator=_per_token)
OLD_LOGPROBS = -4 * torch.rand(M, dtype=torch.float64, generator=_per_token)

COEFFICIENTS: dict[str, Callable[[Tensor, slice], Tensor]] = {
    "sft": lambda logprobs, index: torch.ones_like(logprobs),
    "dft": lambda logprobs, index: logprobs.exp(),
    "gft": lambda logprobs, index: ADVANTAGES[index] * rectified_coefficients(logprobs, 0.05),
    "continuous": lambda logprobs, index: ADVANTAGES[index] * continuous_coefficients(logprobs, 0.05),
    "clipped-ratio": lambda logprobs, index: (
        ADVANTAGES[index] * (logprobs - OLD_LOGPROBS[index]).exp() * ((logprobs - OLD_LOGPROBS[index]).abs() < 1)
    ),
    "constant": lambda logprobs, index: ADVANTAGES[index],
}


def inputs(number: int = M, dtype: torch.dtype = torch.float64, with_bias: bool = True) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(number)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator).to(dtype).requires_grad_()

    drawn: dict[str, Any] = {"hidden": draw(number, H), "weight": draw(V, H), "bias": draw(V) if with_bias else None}
    return drawn | {"targets": torch.randint(0, V, (number,), generator=generator)}


def leaves(given: dict[str, Any]) -> list[Tensor]:
    return [given[name] for name in ("hidden", "weight", "bias") if given[name] is not None]
