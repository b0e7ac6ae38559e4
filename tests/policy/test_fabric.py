"""A policy wrapped whole by Lightning's Fabric."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor
from torch.optim import SGD

from lightning_gft import GroupBatch, Policy, SamplingParams
from tests.conftest import tiny_policy
from tests.module.runs import fit, make_module
from tests.policy.test_adapters import groups
from tests.policy.test_scoring import objective


def rounded(batch: GroupBatch) -> GroupBatch:
    """Return a batch as Fabric hands it on under ``bf16-mixed``."""
    tensors = {f.name: getattr(batch, f.name) for f in fields(batch)}
    floating = {
        name: value for name, value in tensors.items() if isinstance(value, Tensor) and value.is_floating_point()
    }
    return replace(batch, **{name: value.bfloat16() for name, value in floating.items()})


def pair() -> tuple[Policy, Policy]:
    return tiny_policy(vocab_size=64), tiny_policy(vocab_size=64)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_step_is_the_plain_one(precision: str):
    half = precision != "32-true"
    plain, wrapped = pair()
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)  # type: ignore[arg-type]
    module, optimizer = fabric.setup(wrapped, SGD(wrapped.parameters(), lr=0.1))
    output = module(groups(), objective, 7.0, entropy=True)
    fabric.backward(output.loss)
    optimizer.step()

    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        expected = plain(rounded(groups()) if half else groups(), objective, 7.0, entropy=True)
    expected.loss.backward()
    SGD(plain.parameters(), lr=0.1).step()
    torch.testing.assert_close(output.loss, expected.loss, rtol=0, atol=0, check_dtype=False)
    torch.testing.assert_close(output.logprobs, expected.logprobs, rtol=0, atol=0)
    torch.testing.assert_close(dict(wrapped.named_parameters()), dict(plain.named_parameters()), rtol=0, atol=0)
    assert len(module.generate([[4, 5]], 2, SamplingParams(max_new_tokens=3), 0)[0]) == 2


def test_a_module_that_was_compiled_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match=r"torch\.compile\(module\): .* module\.policy\.model\.compile\(\)"):
        fit(torch.compile(make_module()))  # type: ignore[arg-type]
