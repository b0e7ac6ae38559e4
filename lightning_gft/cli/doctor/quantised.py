"""Quantised products of bitsandbytes on each kind of device; runs in a subprocess."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch

from lightning_gft.cli.doctor.devices import available
from lightning_gft.cli.doctor.finding import Finding, tried
from lightning_gft.errors import GFTRuntimeError

_REMEDY = "leave out quantization and bitsandbytes' optimizers, or install a bitsandbytes built for this device"
_SIZE = 64
_ERRORS = {4: 0.2, 8: 0.05}
"""Largest relative error that rounding can cause in a product, by the bits of a weight."""


def check_quantisation() -> Iterator[Finding]:
    """Yield whether products with 4-bit and 8-bit weights are right on each kind of device."""
    if find_spec("bitsandbytes") is None:
        remedy = "pip install 'lightning-gft[qlora]'"
        yield Finding("4-bit and 8-bit weights", False, "bitsandbytes is not installed", remedy)
        return
    for device in available():
        for bits in _ERRORS:
            yield tried(f"{bits}-bit weights on {device}", partial(_product, bits, device), _REMEDY)


def _product(bits: int, device: torch.device) -> str:
    from bitsandbytes.nn.modules import Linear4bit, Linear8bitLt

    torch.manual_seed(0)
    exact = torch.nn.Linear(_SIZE, _SIZE, bias=False)
    layers: dict[int, Callable[[], Any]] = {
        4: lambda: Linear4bit(_SIZE, _SIZE, bias=False, compute_dtype=torch.float32, quant_type="nf4"),  # type: ignore[no-untyped-call]
        8: lambda: Linear8bitLt(_SIZE, _SIZE, bias=False, has_fp16_weights=False),
    }
    layer = layers[bits]()
    layer.load_state_dict(exact.state_dict())
    layer = layer.to(device)  # this quantises the weights
    inputs = torch.randn(8, _SIZE)
    with torch.no_grad():
        wanted, product = exact(inputs), layer(inputs.to(device)).float().cpu()
    error = float((product - wanted).norm() / wanted.norm())
    if not error < _ERRORS[bits]:
        raise GFTRuntimeError(f"a product is off by {error:.0%}")
    return f"a product is right within {error:.1%}"
