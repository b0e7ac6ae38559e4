"""One pass of the policy: what reaches the coefficients, and what an empty micro-batch gives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lightning_gft import Policy, TokenBatch
from lightning_gft.types import Need, TokenObjective
from tests.policy.passes import run
from tests.policy.test_scoring import PLAIN, VOCABULARY, gradients, load
from tests.reference import random_groups
from tests.tiny import tiny_loader, tiny_policy


@pytest.mark.parametrize("name", ["qwen2", "hyperclovax"])
@pytest.mark.parametrize("max_tokens", [20, 10_000])
def test_coefficients_are_asked_once_for_each_token_and_handed_back(name: str, max_tokens: int):
    policy, groups = load(name), random_groups(dtype=torch.float32)[0]
    asked: list[Tensor] = []

    def coefficients(tokens: TokenBatch) -> Tensor:
        assert not tokens.logprobs.requires_grad
        assert tokens.entropy is None
        asked.append(tokens.sequence * 100 + tokens.position)
        return tokens.logprobs.exp() * 2

    output = run(policy, groups, coefficients, entropy=True, max_tokens=max_tokens)
    tokens = groups.tokens()
    assert sorted(torch.cat(asked).tolist()) == (tokens.sequence * 100 + tokens.position).tolist()
    torch.testing.assert_close(output.coefficients, output.logprobs.exp() * 2, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["qwen2", "hyperclovax"])
def test_entropy_and_log_ratio_of_a_response_reach_the_coefficients(name: str):
    policy, groups = load(name).double(), random_groups()[0]
    logprobs, entropies = (values[groups.response_mask] for values in policy.token_logprobs(groups, 100))
    old = logprobs - torch.rand(len(logprobs), dtype=logprobs.dtype)
    given: list[TokenBatch] = []

    def coefficients(tokens: TokenBatch) -> Tensor:
        given.append(tokens)
        return tokens.entropy * tokens.sequence_logratio

    needs: frozenset[Need] = frozenset({"entropy", "sequence_logratio", "old_logprobs"})
    output = run(policy, groups, coefficients, True, needs, max_tokens=20, old_logprobs=old)
    sequence = groups.tokens().sequence
    expected = torch.stack([(logprobs - old)[sequence == n].mean() for n in sequence])
    torch.testing.assert_close(output.coefficients, entropies * expected)
    assert len(given) > 1


def test_without_old_logprobs_the_policy_is_the_old_one():
    policy, groups = tiny_policy(vocab_size=VOCABULARY), random_groups(dtype=torch.float32)[0]
    given: list[TokenBatch] = []

    def coefficients(tokens: TokenBatch) -> Tensor:
        given.append(tokens)
        return tokens.advantages

    run(policy, groups, coefficients, needs={"old_logprobs", "sequence_logratio"})
    assert all(torch.equal(tokens.old_logprobs, tokens.logprobs) for tokens in given)
    assert all((tokens.sequence_logratio == 0).all() for tokens in given)


def test_one_coefficient_for_all_tokens_is_refused():
    policy, groups = tiny_policy(vocab_size=VOCABULARY), random_groups(dtype=torch.float32)[0]
    with pytest.raises(ValueError, match=r"`coefficients`: expected a tensor \[\d+\], got shape \[\]"):
        run(policy, groups, lambda tokens: tokens.advantages.sum())


@pytest.mark.parametrize("name", ["qwen2", "stablelm", "hyperclovax"])
def test_an_empty_micro_batch_gives_every_weight_a_gradient_of_zero(name: str):
    policy = tiny_policy(name, vocab_size=VOCABULARY, **PLAIN.get(name, {}))
    batch = policy.empty_micro_batch()
    tokens = random_groups(dtype=torch.float32)[0].tokens()[batch.index]
    output = policy(batch, TokenObjective(lambda tokens: tokens.advantages, tokens, 7.0), entropy=True)
    output.loss.backward()
    assert output.loss == 0
    assert len(output.logprobs) == len(output.coefficients) == len(output.entropy) == 0
    taken = gradients(policy)
    assert taken
    assert not any(gradient.any() for gradient in taken.values())


def test_tokens_that_no_micro_batch_has_are_unknown():
    policy, groups = tiny_policy(vocab_size=VOCABULARY), random_groups(dtype=torch.float32)[0]
    [first, *_] = policy.micro_batches(groups, 20)
    logprobs, entropies = policy.score([first], int(groups.response_mask.sum()))
    known = torch.zeros_like(logprobs, dtype=torch.bool)
    known[first.index] = True
    assert torch.equal(logprobs.isfinite(), known)
    assert torch.equal(entropies.isfinite(), known)


def test_a_response_is_encoded_as_it_would_be_drawn():
    policy = tiny_policy()
    ids = policy.encode("1+2=3")
    assert ids[-1] == policy.tokenizer.eos_token_id
    assert policy.decode(ids) == "1+2=3"
    assert policy.encode("1+2=3" + policy.tokenizer.eos_token) == ids


def test_a_response_in_a_chat_ends_with_the_turn():
    loader = tiny_loader()
    loader.tokenizer.add_tokens("<end>", special_tokens=True)
    loader.tokenizer.chat_template = "{% for m in messages %}{{ m.content }}<end>{% endfor %}"
    policy = Policy(tiny_loader(vocab_size=VOCABULARY).load_model(), loader.tokenizer)
    end = policy.tokenizer.convert_tokens_to_ids("<end>")
    assert policy.encode("1+2") == [*policy.tokenizer.encode("1+2", add_special_tokens=False), end]
    assert policy.encode("1+2<end>") == policy.encode("1+2")
