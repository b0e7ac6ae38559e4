"""The divergence of the starting policy from the one that trains, on samples of the former."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_gft import Evaluation, Policy, SamplingParams
from lightning_gft.evaluation import Evaluator
from lightning_gft.start_samples import StartSamples
from tests.conftest import quick
from tests.policy.test_reference import CASES, make
from tests.test_evaluation import PROMPTS, REFERENCES, SAMPLER, distributions, evaluate, moved_policy
from tests.tiny import prompt_batch, tiny_policy

SHORT = SamplingParams(max_new_tokens=4)
KEPT = [name for name in CASES if name not in ("full", "full, tied", "continued")]


class Drawing:
    """Counts how often a policy draws."""

    def __init__(self, policy: Policy) -> None:
        self.calls: list[int] = []
        engine = policy.engine
        generate = engine.generate

        def counted(model: Any, prompt_ids: Any, *rest: Any) -> Any:
            self.calls.append(len(prompt_ids))
            return generate(model, prompt_ids, *rest)

        engine.generate = counted  # type: ignore[method-assign]


def test_it_estimates_the_divergence_of_the_start():
    # One-token responses: it is a plain sum over the vocabulary, for each prompt.
    policy = tiny_policy(keep_reference=True, initializer_range=0.1)
    with torch.no_grad():
        policy.model.model.norm.weight.mul_(3)  # sharper, so that the directions differ
    prompts = prompt_batch(policy.tokenizer, PROMPTS * 700)
    estimates = StartSamples(SamplingParams(max_new_tokens=1)).divergence(prompts, policy, seed=0, max_tokens=4000)
    exact, other = [], []
    for prompt in PROMPTS:
        now, start = distributions(policy, policy.tokenizer.encode(prompt))
        exact.append((start.exp() * (start - now)).sum().item())
        other.append((now.exp() * (now - start)).sum().item())
    assert estimates.mean().item() == pytest.approx(sum(exact) / 3, rel=0.1)
    assert sum(exact) != pytest.approx(sum(other), rel=0.2)  # the other direction would be noticed


@pytest.mark.parametrize("case", quick(KEPT, "full, start kept", "lora", "continued, start kept", "4 bits"))
def test_each_token_is_schulmans_k3_on_samples_of_the_start(case: str, tmp_path: Path):
    policy = make(case, tmp_path)
    prompts = prompt_batch(policy.tokenizer, PROMPTS)
    samples = StartSamples(SHORT)
    estimates = samples.divergence(prompts, policy, seed=3, max_tokens=1000)
    [drawn] = samples._used.values()
    mask = drawn.sequences.response_mask
    now, _ = policy.token_logprobs(drawn.sequences, 1000)
    with policy.as_loaded():
        start, _ = policy.token_logprobs(drawn.sequences, 1000)
        greedy = policy.generate(prompts.prompt_ids, 1, SamplingParams(max_new_tokens=4, temperature=0), 0)
        again = StartSamples(SamplingParams(max_new_tokens=4, temperature=0))
    ratios = (now - start)[mask].tolist()
    expected = [math.exp(ratio) - 1 - ratio for ratio in ratios]
    assert estimates.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert estimates.max() > 1e-4
    again.divergence(prompts, policy, seed=3, max_tokens=1000)
    [drawn] = again._used.values()
    own = [
        ids[kept].tolist() for ids, kept in zip(drawn.sequences.input_ids, drawn.sequences.response_mask, strict=True)
    ]
    assert own == [list(response.token_ids) for [response] in greedy]  # the start's, not the policy's


def step(evaluator: Evaluator, policy: Policy, prompts: list[str] = PROMPTS, seed: int = 0) -> float:
    evaluator.start(policy)
    batch = prompt_batch(policy.tokenizer, prompts, REFERENCES[: len(prompts)])
    evaluator.step(batch, policy, SAMPLER, seed=seed, max_tokens=1000)
    return evaluator.finish()[""]["kl_start"].item()


def test_samples_are_drawn_once_a_run_and_the_same_again_when_it_is_resumed():
    policy, evaluator = moved_policy(), Evaluator(Evaluation(num_samples=2, max_new_tokens=4))
    drawing = Drawing(policy)
    first = step(evaluator, policy)
    assert len(drawing.calls) == 2  # own samples, and those of the start
    assert step(evaluator, policy) == first
    assert len(drawing.calls) == 3
    assert step(Evaluator(evaluator.settings), policy) == first
    assert len(drawing.calls) == 5
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    assert step(evaluator, policy) > first
    assert len(drawing.calls) == 6


def test_other_prompts_another_seed_and_another_policy_have_samples_of_their_own():
    policy, evaluator = moved_policy(), Evaluator(Evaluation(num_samples=2, max_new_tokens=4))
    drawing = Drawing(policy)
    step(evaluator, policy)
    step(evaluator, policy, PROMPTS[:2])
    step(evaluator, policy, PROMPTS[:2], seed=1)
    assert len(drawing.calls) == 6
    step(evaluator, policy, PROMPTS)  # the evaluations before have not seen it
    assert len(drawing.calls) == 8
    other = moved_policy()
    of_other = Drawing(other)
    step(evaluator, other, PROMPTS)
    assert len(of_other.calls) == 2


def test_nothing_is_drawn_where_no_divergence_is_wanted():
    policy = tiny_policy()
    drawing = Drawing(policy)
    figures = evaluate(policy, Evaluation(num_samples=2, max_new_tokens=4, kl=False))
    assert {"kl", "kl_start"}.isdisjoint(figures)
    assert len(drawing.calls) == 1
