"""What evaluation draws from a policy, and what it finds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from transformers import PreTrainedModel

from lightning_gft import (
    Evaluation,
    ExactMatchReward,
    FormatReward,
    GatedSum,
    GroupSampler,
    Policy,
    Response,
    RolloutEngine,
    SamplingParams,
    SelfSource,
)
from lightning_gft.evaluation import Evaluator
from lightning_gft.lm.decoding.stopping import EndTokens
from tests.tiny import prompt_batch, tiny_loader, tiny_policy

PROMPTS = ["1+1=", "20+20=", "3="]
REFERENCES = ["2", "40", "3"]
REWARDS = {"digits": FormatReward("[0-9]+"), "accuracy": ExactMatchReward()}
SAMPLER = GroupSampler({"self": SelfSource()}, REWARDS)


class Scripted(RolloutEngine):
    """Gives the answers that it was told to give: the greedy ones, and those of samples by their number."""

    def __init__(self, greedy: Sequence[str], samples: Sequence[Sequence[str]]) -> None:
        self.tokenizer = tiny_loader().tokenizer
        self.greedy, self.samples = greedy, samples
        self.calls: list[tuple[int, SamplingParams, bool]] = []

    def generate(
        self,
        model: PreTrainedModel,
        prompt_ids: Sequence[Sequence[int]],
        num_generations: int,
        sampling: SamplingParams,
        seeds: Sequence[int],
        end: EndTokens,
        with_greedy: bool = False,
    ) -> list[list[Response]]:
        self.calls.append((num_generations, sampling, with_greedy))
        texts = [[greedy, *samples] for greedy, samples in zip(self.greedy, self.samples, strict=True)]
        return [[Response([*self.tokenizer.encode(text), 1]) for text in row] for row in texts]


def evaluate(policy: Policy, settings: Evaluation, budget: int = 1000) -> dict[str, float]:
    evaluator = Evaluator(settings)
    evaluator.start(policy)
    evaluator.step(prompt_batch(policy.tokenizer, PROMPTS, REFERENCES), policy, SAMPLER, seed=0, max_tokens=budget)
    return {name: value.item() for name, value in evaluator.finish()[""].items()}


@pytest.mark.parametrize(
    ("greedy", "samples", "expected"),
    [
        (REFERENCES, [[answer] * 4 for answer in REFERENCES], {"greedy_accuracy": 1, "mean@4": 1, "pass@2": 1}),
        (["a"] * 3, [["b"] * 4] * 3, {"greedy_accuracy": 0, "mean@4": 0, "pass@2": 0, "pass@4": 0}),
        (
            ["2", "b", "c"],
            [["2", "2", "a", "a"], ["40", "b", "b", "b"], ["4", "4", "4", "5"]],
            {"greedy_accuracy": 1 / 3, "mean@4": 1 / 4, "pass@2": (5 / 6 + 1 / 2) / 3, "pass@4": 2 / 3},
        ),
    ],
    ids=["right", "wrong", "mixed"],
)
def test_accuracy(greedy: list[str], samples: list[list[str]], expected: dict[str, float]):
    engine = Scripted(greedy, samples)
    policy = tiny_policy()
    policy.engine = engine
    figures = evaluate(policy, Evaluation(4, max_new_tokens=9, temperature=0.5, top_p=0.9, reward="accuracy", kl=False))
    assert {name: figures[name] for name in expected} == pytest.approx(expected)
    assert figures["response_length"] == pytest.approx(sum(len(t) + 1 for row in samples for t in row) / 12)
    assert engine.calls == [(4, SamplingParams(9, 0.5, top_p=0.9), True)]  # each prompt is prefilled once


def test_kl_is_zero_at_the_start_and_grows():
    policy = tiny_policy(keep_reference=True)
    settings = Evaluation(num_samples=8, max_new_tokens=8)
    assert evaluate(policy, settings)["kl"] == 0.0
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    assert evaluate(policy, settings)["kl"] > 0.01


def moved_policy() -> Policy:
    policy = tiny_policy(keep_reference=True, initializer_range=0.1)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    return policy


def distributions(policy: Policy, ids: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return log-probabilities of the next token, now and at the start."""
    models = policy.model, policy.reference_model
    return tuple(model(torch.tensor([ids])).logits[0, -1].log_softmax(0) for model in models)


def test_kl_and_entropy_estimate_what_they_name():
    # One-token responses: both are plain sums over the vocabulary, for each prompt.
    policy = moved_policy()
    figures = evaluate(policy, Evaluation(num_samples=2000, max_new_tokens=1))
    divergences, entropies = [], []
    for prompt in PROMPTS:
        now, start = distributions(policy, policy.tokenizer.encode(prompt))
        divergences.append((now.exp() * (now - start)).sum().item())
        entropies.append(-(now.exp() * now).sum().item())
    assert figures["kl"] == pytest.approx(sum(divergences) / 3, rel=0.1)
    assert figures["entropy"] == pytest.approx(sum(entropies) / 3, rel=1e-4)


def test_kl_of_each_token_is_schulmans_k3():
    policy, settings = moved_policy(), Evaluation(num_samples=2, max_new_tokens=4)
    prompts = prompt_batch(policy.tokenizer, PROMPTS, REFERENCES)
    drawn = Evaluator(settings).step(prompts, policy, SAMPLER, seed=0, max_tokens=1000).samples
    terms = []
    for ids, mask in zip(drawn.input_ids.tolist(), drawn.response_mask.tolist(), strict=True):
        for t in (t for t, in_response in enumerate(mask) if in_response):
            now, start = distributions(policy, ids[:t])
            log_ratio = (start - now)[ids[t]].item()
            terms.append(math.exp(log_ratio) - 1 - log_ratio)
    assert min(terms) >= 0
    assert evaluate(policy, settings)["kl"] == pytest.approx(sum(terms) / len(terms), rel=1e-3)


def test_budget_does_not_matter():
    policy = tiny_policy(keep_reference=True)
    settings = Evaluation(num_samples=3, max_new_tokens=8)
    assert evaluate(policy, settings, budget=1) == pytest.approx(evaluate(policy, settings), rel=1e-4, abs=1e-6)


def test_reward_defaults_to_the_first_and_must_exist():
    assert Evaluator(Evaluation()).reward_name(REWARDS) == "digits"
    with pytest.raises(ValueError, match=r"`evaluation\.reward`: expected one of digits, accuracy, got 'acuracy'"):
        Evaluator(Evaluation(reward="acuracy")).reward_name(REWARDS)


def test_number_of_samples_is_checked():
    with pytest.raises(ValueError, match="`num_samples` of Evaluation: expected a whole number of at least 1, got 0"):
        Evaluation(num_samples=0)


def test_gates_count_in_the_total_and_not_in_what_is_called_correct():
    policy, settings = tiny_policy(), Evaluation(num_samples=1, max_new_tokens=4, kl=False, reward="accuracy")
    policy.engine = Scripted(["2", "a", "b"], [["x"], ["40"], ["3"]])
    sampler = GroupSampler(
        {"self": SelfSource()},
        {"accuracy": ExactMatchReward(), "two": FormatReward("[0-9]{2}", weight=0)},
        total=GatedSum({"accuracy": "two"}),
    )
    evaluator = Evaluator(settings)
    drawn = evaluator.step(prompt_batch(policy.tokenizer, PROMPTS, REFERENCES), policy, sampler, 0, 1000)
    assert evaluator.finish()[""]["mean@1"].item() == pytest.approx(2 / 3)
    assert drawn.samples.rewards.tolist() == [0, 1, 0]
    assert sampler.total.compute() == {"accuracy/gated": 2}
