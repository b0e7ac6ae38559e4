from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from math import sqrt
from statistics import fmean, stdev
from typing import Any

import pytest
import torch

from lightning_gft import GroupBatch
from lightning_gft.metrics import PolicyEvaluation
from tests.reference import maj_at_k_by_precedence, pass_at_k_by_enumeration, random_groups


def correct(values: list[float], answers: list[str | None] | None = None) -> GroupBatch:
    groups, _ = random_groups(sizes=(len(values),))
    read = {} if answers is None else {"accuracy": answers, "other": ["same"] * len(values)}
    return replace(
        groups, reward_parts={"other": torch.ones(len(values)), "accuracy": torch.tensor(values)}, answers=read
    )


def draw(seed: int, num_prompts: int, num_samples: int) -> tuple[list[float], list[list[str | None]]]:
    """Return whether greedy responses are correct, and the answers of samples, of which "1" is correct."""
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randint(4, (num_prompts, num_samples), generator=generator).tolist()
    samples = [[None if number == 3 else str(number) for number in row] for row in numbers]
    return (torch.rand(num_prompts, generator=generator) < 0.5).double().tolist(), samples


class Slow:
    """All figures by plain Python, from everything that was seen."""

    def __init__(self, num_samples: int) -> None:
        self.num_samples = num_samples
        self.greedy: list[float] = []
        self.answers: list[list[str | None]] = []
        self.lengths: list[int] = []
        self.of_tokens: dict[str, list[float]] = {"entropy": [], "kl": [], "kl_start": []}

    def batch(self, seed: int, num_prompts: int) -> tuple[Any, ...]:
        """Return what a metric is updated with."""
        of_greedy, answers = draw(seed, num_prompts, self.num_samples)
        flat = [answer for row in answers for answer in row]
        drawn = correct([float(answer == "1") for answer in flat], flat)
        entropy = torch.rand(int(drawn.response_mask.sum()))
        figures = entropy, torch.rand_like(entropy), torch.rand(5 + seed)
        self.greedy += of_greedy
        self.answers += answers
        self.lengths += drawn.response_mask.sum(dim=1).tolist()
        for values, new in zip(self.of_tokens.values(), figures, strict=True):
            values += new.tolist()
        return correct(of_greedy), drawn, *figures

    def figures(self, draws: list[int]) -> dict[str, float]:
        k = self.num_samples
        right = [[float(answer == "1") for answer in row] for row in self.answers]
        of_prompts = {
            "greedy_accuracy": self.greedy,
            f"mean@{k}": [fmean(row) for row in right],
            **{f"pass@{j}": [pass_at_k_by_enumeration(k, int(sum(row)), j) for row in right] for j in draws},
            f"maj@{k}": [maj_at_k_by_precedence(*row) for row in zip(self.answers, right, strict=True)],
        }
        return {
            **{name: fmean(values) for name, values in of_prompts.items()},
            **{f"{name}_stderr": stdev(values) / sqrt(len(values)) for name, values in of_prompts.items()},
            "response_length": fmean(self.lengths),
            **{name: fmean(values) for name, values in self.of_tokens.items()},
        }


def computed(metric: PolicyEvaluation) -> dict[str, float]:
    return {name: value.item() for name, value in metric.compute().items()}


@pytest.mark.parametrize(
    ("num_samples", "draws"), [(1, [1]), (2, [2]), (3, [2, 3]), (6, [2, 4, 6]), (8, [2, 4, 8]), (9, [2, 4, 8, 9])]
)
def test_against_plain_python_over_several_updates_and_on_several_ranks(num_samples: int, draws: list[int]):
    metric, slow = PolicyEvaluation(num_samples, "accuracy"), Slow(num_samples)
    ranks = [deepcopy(metric) for _ in range(3)]
    for seed, num_prompts in enumerate((5, 1, 3)):
        batch = slow.batch(seed, num_prompts)
        metric.update(*batch)
        ranks[seed].update(*batch)
    expected = pytest.approx(slow.figures(draws), rel=1e-6, abs=1e-8)
    assert computed(metric) == expected
    for name in metric.metric_state:
        setattr(ranks[0], name, sum(getattr(rank, name) for rank in ranks))  # as processes are reduced
    assert computed(ranks[0]) == expected


def test_what_was_not_measured_is_left_out():
    metric = PolicyEvaluation(2, "accuracy")
    drawn = correct([1.0, 0.0])
    metric.update(correct([1.0]), drawn, torch.zeros(int(drawn.response_mask.sum())), None)
    assert set(metric.compute()) == {"greedy_accuracy", "mean@2", "pass@2", "response_length", "entropy"}


def test_a_single_prompt_has_no_standard_error():
    metric, slow = PolicyEvaluation(3, "accuracy"), Slow(3)
    metric.update(*slow.batch(0, 1))
    assert not [name for name in metric.compute() if name.endswith("_stderr")]
    metric.update(*slow.batch(1, 1))
    assert {name for name in metric.compute() if name.endswith("_stderr")} == {
        f"{name}_stderr" for name in ("greedy_accuracy", "mean@3", "pass@2", "pass@3", "maj@3")
    }


def test_equal_prompts_have_a_standard_error_of_zero():
    metric = PolicyEvaluation(3, "accuracy")
    drawn = correct([1.0, 0.0, 0.0] * 7)
    metric.update(correct([1.0] * 7), drawn, torch.zeros(int(drawn.response_mask.sum())), None)
    assert metric.compute()["mean@3_stderr"].item() == pytest.approx(0, abs=1e-7)


def test_correct_means_at_least_the_correct_reward():
    metric = PolicyEvaluation(4, "accuracy", correct_reward=0.5)
    drawn = correct([0.49, 0.5, 0.51, 0.0])
    metric.update(correct([0.5]), drawn, torch.zeros(int(drawn.response_mask.sum())), None)
    values = metric.compute()
    assert values["mean@4"] == 0.5
    assert values["greedy_accuracy"] == 1.0


def test_a_reward_that_does_not_apply_cannot_tell_what_is_correct():
    metric = PolicyEvaluation(1, "accuracy")
    groups = replace(correct([1.0, float("nan")]), prompts=["1+1=", "2+2="])
    with pytest.raises(
        ValueError, match=r"`evaluation.reward`: .* every response, got None .* of 'accuracy' .* prompt '2\+2='"
    ):
        metric.update(correct([1.0, 1.0]), groups, torch.rand(4), None)
