"""A policy wrapped whole by Lightning's Fabric, which rounds neither micro-batch nor objective."""

from __future__ import annotations

import pytest
import torch
from lightning.fabric import Fabric
from torch.optim import SGD

from lightning_gft import Policy, SamplingParams
from lightning_gft.lm.micro_batch import MicroBatch
from lightning_gft.types import TokenObjective
from tests.module.runs import fit, make_module
from tests.policy.passes import NORMALIZER, objective, weights_of
from tests.policy.test_adapters import groups
from tests.tiny import tiny_policy


def pair() -> tuple[Policy, Policy]:
    return tiny_policy(vocab_size=64), tiny_policy(vocab_size=64)


def arguments(policy: Policy) -> tuple[MicroBatch, TokenObjective]:
    [batch] = policy.micro_batches(groups(), 10_000)
    tokens = groups().tokens(weights=weights_of(groups()))
    return batch, TokenObjective(objective, tokens[batch.index], torch.tensor(NORMALIZER))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_step_is_the_plain_one(precision: str):
    half = precision != "32-true"
    plain, wrapped = pair()
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)  # type: ignore[arg-type]
    module, optimizer = fabric.setup(wrapped, SGD(wrapped.parameters(), lr=0.1))
    output = module(*arguments(wrapped), entropy=True)
    fabric.backward(output.loss)
    optimizer.step()

    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        expected = plain(*arguments(plain), entropy=True)
    expected.loss.backward()
    SGD(plain.parameters(), lr=0.1).step()
    torch.testing.assert_close(output.loss, expected.loss, rtol=0, atol=0, check_dtype=False)
    torch.testing.assert_close(output.logprobs, expected.logprobs, rtol=0, atol=0)
    torch.testing.assert_close(dict(wrapped.named_parameters()), dict(plain.named_parameters()), rtol=0, atol=0)
    assert len(module.generate([[4, 5]], 2, SamplingParams(max_new_tokens=3), 0)[0]) == 2


def test_a_module_that_was_compiled_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match=r"`module`: expected one without torch\.compile.*policy\.model\.compile\(\)"):
        fit(torch.compile(make_module()))  # type: ignore[arg-type]
