"""The fused pass against each sequence by itself, its own logits, and plain autograd."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lightning_gft import GroupBatch, LoRA, Policy, SamplingParams, ScratchPolicy
from tests.conftest import quick
from tests.policy.passes import NORMALIZER, run, weights_of
from tests.reference import random_groups
from tests.tiny import ALPHABET, tiny_loader, tiny_policy

VOCABULARY = 64

FUSED = {
    "qwen2": {},
    "qwen2-untied": {"tie_word_embeddings": False},
    "llama": {},
    "llama-untied": {"tie_word_embeddings": False},
    "gpt2": {},
    "gpt2-untied": {"tie_word_embeddings": False},
    "gemma2": {"final_logit_softcapping": 2.0, "head_dim": 16},
    "gemma2-untied": {"final_logit_softcapping": 2.0, "head_dim": 16, "tie_word_embeddings": False},
    "cohere": {"logit_scale": 0.3},
    "granite": {"logits_scaling": 4.0, "embedding_multiplier": 3.0},
    "phi": {"tie_word_embeddings": False},  # its head has a bias
    "mistral": {"tie_word_embeddings": False, "sliding_window": 4},
    "qwen3": {"head_dim": 16},
    "gemma3_text": {"final_logit_softcapping": 2.0, "head_dim": 16},
    "phi3": {"tie_word_embeddings": False, "pad_token_id": 0},
    "gpt_neox": {"tie_word_embeddings": False},
    "olmo2": {},
    "mixtral": {"tie_word_embeddings": False, "num_local_experts": 4},
    "qwen3_moe": {"moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2},
}
EXACT = {"gpt2", "gpt_neox", "phi"}
MIXTURES = {"mixtral", "qwen3_moe"}
PLAIN = {
    "hyperclovax": {"logits_scaling": 0.5},  # multiplies where Granite divides
}


def load(name: str) -> Policy:
    settings = {**FUSED, **PLAIN}[name]
    policy = tiny_policy(name.removesuffix("-untied"), vocab_size=VOCABULARY, **settings)
    if name in MIXTURES:
        policy.model.set_experts_implementation("eager")  # the grouped product knows no double precision
    return policy


def one_by_one(model: PreTrainedModel, groups: GroupBatch) -> tuple[Tensor, list[float], list[float]]:
    """Return loss, log-probabilities and entropies from the model's own logits, without padding or batching."""
    total, logprobs, entropies = torch.zeros((), dtype=torch.float64), [], []
    for n in range(len(groups)):
        length = int(groups.attention_mask[n].sum())
        distributions = model(input_ids=groups.input_ids[n : n + 1, :length]).logits[0].log_softmax(dim=-1)
        for t in range(1, length):
            if groups.response_mask[n, t]:
                distribution = distributions[t - 1]
                logprob = distribution[groups.input_ids[n, t]]
                coefficient = groups.advantages[n] * logprob.detach().exp() + 0.1
                total = total - weights_of(groups)[n] * coefficient * logprob / NORMALIZER
                logprobs.append(logprob.item())
                entropies.append(-(distribution.exp() * distribution).sum().item())
    return total, logprobs, entropies


def gradients(policy: Policy) -> dict[str, Tensor]:
    taken = {name: parameter.grad for name, parameter in policy.named_parameters() if parameter.requires_grad}
    assert all(gradient is not None for gradient in taken.values())
    policy.zero_grad()
    return taken


def assert_equals_reference(policy: Policy, groups: GroupBatch | None = None) -> None:
    policy.double()
    groups = random_groups()[0] if groups is None else groups
    output = run(policy, groups, entropy=True)
    output.loss.backward()
    actual = gradients(policy)
    expected_loss, logprobs, entropies = one_by_one(policy.model, groups)
    expected_loss.backward()
    expected = gradients(policy)
    # Most architectures normalise in single precision.
    tolerance = 1e-10 if policy.model.config.model_type in EXACT else 1e-6
    torch.testing.assert_close(output.loss, expected_loss, rtol=tolerance, atol=tolerance)
    for values, wanted in ((output.logprobs, logprobs), (output.entropy, entropies)):
        torch.testing.assert_close(values, torch.tensor(wanted, dtype=torch.float64), rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(actual, expected, rtol=10 * tolerance, atol=tolerance)
    assert max(gradient.abs().max() for gradient in actual.values()) > 1e-3


@pytest.mark.parametrize("name", quick(FUSED, "gpt2", "gemma2-untied", "phi", "qwen3_moe"))
def test_fused_pass_equals_own_logits(name: str):
    policy = load(name)
    assert policy.head is not None
    assert_equals_reference(policy)


@pytest.mark.parametrize("name", PLAIN)
def test_head_that_is_not_served_takes_the_plain_path(name: str):
    policy = load(name)
    assert policy.head is None
    assert_equals_reference(policy)


def test_plain_path_is_logged(caplog: pytest.LogCaptureFixture):
    torch.manual_seed(0)
    loader = tiny_loader(vocab_size=VOCABULARY)
    model = loader.load_model()
    model.set_output_embeddings(nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, VOCABULARY)))
    with caplog.at_level(logging.INFO, logger="lightning.pytorch"):
        policy = Policy(model, loader.tokenizer)
    assert caplog.text.count("Qwen2ForCausalLM has a head that the fused loss does not support") == 1
    assert policy.head is None
    assert_equals_reference(policy)


def test_a_bound_on_logits_is_noticed_before_logits_are_large():
    # It calls its soft-cap of 30 by a name of its own, and its fresh logits are so small that they hardly feel it.
    small = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "num_key_value_heads": 2}
    loader = ScratchPolicy(ALPHABET, "recurrent_gemma", {**small, "lru_width": 32, "w_init_variance_scale": 1e-4})
    policy = loader.load()
    assert policy.head is None


def test_finding_the_head_leaves_the_model_as_it_was():
    torch.manual_seed(0)
    loader = tiny_loader("gpt2", resid_pdrop=0.5)
    model = loader.load_model()
    ids = torch.arange(8).unsqueeze(0)
    expected = model.eval()(ids).logits
    for training in (False, True):
        Policy(model.train(training), loader.tokenizer)
        assert model.training == training
        torch.testing.assert_close(model.eval()(ids).logits, expected, rtol=0, atol=0)


@pytest.mark.parametrize("model_type", ["qwen2", "gpt2", "gemma2"])
@pytest.mark.parametrize("fill", [0, 1, 5], ids=["pad", "eos", "letter"])
def test_padding_never_matters(model_type: str, fill: int):
    policy = tiny_policy(model_type, vocab_size=VOCABULARY).double()
    groups = random_groups()[0]
    expected = run(policy, groups, entropy=True)
    expected.loss.backward()
    expected_gradients = gradients(policy)

    filled = torch.where(groups.attention_mask, groups.input_ids, fill)
    padding = torch.full((len(groups), 4), fill)
    padded = replace(
        groups,
        input_ids=torch.cat([filled, padding], dim=1),
        attention_mask=torch.cat([groups.attention_mask, padding.bool() & False], dim=1),
        response_mask=torch.cat([groups.response_mask, padding.bool() & False], dim=1),
    )
    output = run(policy, padded, entropy=True)
    output.loss.backward()
    torch.testing.assert_close(vars(output), vars(expected), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(gradients(policy), expected_gradients, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("budget", [1, 20, 10_000])
def test_token_logprobs_whatever_the_budget(budget: int):
    policy = tiny_policy(vocab_size=VOCABULARY)
    groups = random_groups(dtype=torch.float32)[0]
    logprobs, entropies = policy.token_logprobs(groups, budget)
    assert logprobs.shape == entropies.shape == groups.input_ids.shape
    assert not logprobs[~groups.response_mask].any()
    assert not entropies[~groups.response_mask].any()
    _, expected_logprobs, expected_entropies = one_by_one(policy.model, groups)
    torch.testing.assert_close(logprobs[groups.response_mask], torch.tensor(expected_logprobs), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(entropies[groups.response_mask], torch.tensor(expected_entropies), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("default", [torch.float64, torch.bfloat16], ids=["64-true", "bf16-true"])
def test_token_logprobs_are_exact_whatever_the_default_dtype(default: torch.dtype):
    # Lightning's true-precision plugins change PyTorch's default data type while a step runs.
    policy = tiny_policy(vocab_size=VOCABULARY)
    groups = random_groups(dtype=torch.float32)[0]
    expected = policy.token_logprobs(groups, 100)
    torch.set_default_dtype(default)
    try:
        actual = policy.token_logprobs(groups, 100)
    finally:
        torch.set_default_dtype(torch.float32)
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


def test_token_logprobs_have_the_precision_of_the_model():
    policy = tiny_policy(vocab_size=VOCABULARY).double()
    groups = random_groups()[0]
    logprobs, _ = policy.token_logprobs(groups, 100)
    output = run(policy, groups)
    torch.testing.assert_close(logprobs[groups.response_mask], output.logprobs, rtol=1e-12, atol=0)


def test_reference_scores_as_at_load_while_the_policy_trains():
    # Dropout must not make the reference another policy, in training mode neither.
    policy = tiny_policy("gpt2", keep_reference=True, vocab_size=VOCABULARY, resid_pdrop=0.5, embd_pdrop=0.5)
    groups = random_groups(dtype=torch.float32)[0]
    policy.train()
    before, _ = policy.token_logprobs(groups, 100)
    assert policy.model.training
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    after, _ = policy.token_logprobs(groups, 100)
    with policy.reference():
        reference, _ = policy.token_logprobs(groups, 100)
    assert (after - before).abs().max() > 0.1
    torch.testing.assert_close(reference, before, rtol=0, atol=0)
    torch.testing.assert_close(policy.token_logprobs(groups, 100)[0], after, rtol=0, atol=0)


@pytest.mark.parametrize("lora", [None, LoRA(r=4)], ids=["copy", "adapters"])
def test_within_the_reference_scores_and_samples_are_those_of_the_start(lora: LoRA | None):
    loader = tiny_loader(vocab_size=VOCABULARY)
    loader.lora = lora
    policy, groups = loader.load(keep_reference=True), random_groups(dtype=torch.float32)[0]

    def what_it_does() -> tuple[Tensor, list[list[int]]]:
        [drawn] = policy.generate([[4, 5, 6]], 3, SamplingParams(8), 0, with_greedy=True)
        return policy.token_logprobs(groups, 100)[0], [response.token_ids for response in drawn]

    before = what_it_does()
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn_like(parameter))
    after = what_it_does()
    with policy.reference():
        reference = what_it_does()
    assert (after[0] - before[0]).abs().max() > 0.1
    assert after[1] != before[1]
    torch.testing.assert_close(reference[0], before[0])
    assert reference[1] == before[1]


def test_the_reference_may_be_asked_for_within_itself():
    policy, groups = tiny_policy(keep_reference=True), random_groups(dtype=torch.float32)[0]
    groups.input_ids %= 30
    expected, _ = policy.token_logprobs(groups, 1000)
    with torch.no_grad():
        for weight in policy.model.parameters():
            weight.mul_(1.5)
    with policy.reference():
        with policy.reference():
            pass
        torch.testing.assert_close(policy.token_logprobs(groups, 1000)[0], expected, rtol=0, atol=0)


def test_reference_takes_no_part_in_training():
    policy = tiny_policy(keep_reference=True)
    trainable = {name for name, parameter in policy.named_parameters() if parameter.requires_grad}
    assert trainable
    assert not any(name.startswith("reference_model") for name in trainable)


def test_reference_that_was_not_kept_is_refused():
    with pytest.raises(RuntimeError, match="`keep_reference`: expected True"), tiny_policy().reference():
        pass
