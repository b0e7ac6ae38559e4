from __future__ import annotations

import pytest
import torch

from lightning_gft.functional import token_entropy, token_logprobs
from tests import reference


@pytest.mark.parametrize("seed", range(3))
def test_agree_with_loops(seed: int):
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(5, 7, dtype=torch.float64, generator=generator)
    targets = torch.randint(0, 7, (5,), generator=generator)
    logprobs = [reference.logprob(row, target) for row, target in zip(logits.tolist(), targets.tolist(), strict=True)]
    entropies = [reference.entropy(row) for row in logits.tolist()]
    torch.testing.assert_close(
        token_logprobs(logits, targets), torch.tensor(logprobs, dtype=torch.float64), rtol=0, atol=1e-12
    )
    torch.testing.assert_close(token_entropy(logits), torch.tensor(entropies, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(), (3,), (2, 4), (0,), (2, 0)], ids=str)
def test_any_leading_shape(shape):
    logits = torch.randn(*shape, 5, generator=torch.Generator().manual_seed(0))
    targets = torch.full(shape, 2)
    assert token_logprobs(logits, targets).shape == shape
    torch.testing.assert_close(token_logprobs(logits, targets), logits.log_softmax(-1)[..., 2])
    assert token_entropy(logits).shape == shape


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_widened_first(dtype: torch.dtype):
    logits = (3 * torch.randn(6, 300, generator=torch.Generator().manual_seed(0))).to(dtype)
    targets = torch.arange(6)
    for actual, expected in (
        (token_logprobs(logits, targets), token_logprobs(logits.float(), targets)),
        (token_entropy(logits), token_entropy(logits.float())),
    ):
        assert actual.dtype == torch.float32
        torch.testing.assert_close(actual, expected, rtol=0, atol=0)


def test_ruled_out_tokens_and_huge_logits():
    logits = torch.tensor([[0.0, 0.0, -torch.inf], [1e5, 0.0, -1e5]], dtype=torch.float64, requires_grad=True)
    entropies = token_entropy(logits)
    torch.testing.assert_close(entropies.exp(), torch.tensor([2.0, 1.0]).double())
    logprobs = token_logprobs(logits, torch.tensor([2, 0]))
    assert logprobs.tolist() == [-torch.inf, 0.0]


def test_gradients():
    logits = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2), requires_grad=True)
    targets = torch.tensor([4, 0, 2])
    assert torch.autograd.gradcheck(lambda x: token_logprobs(x, targets), logits)
    assert torch.autograd.gradcheck(token_entropy, logits)
