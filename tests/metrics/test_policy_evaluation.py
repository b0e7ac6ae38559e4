from __future__ import annotations

from dataclasses import replace
from statistics import fmean

import pytest
import torch

from lightning_gft import GroupBatch
from lightning_gft.metrics import PolicyEvaluation
from tests.reference import pass_at_k_by_enumeration, random_groups


def correct(values: list[float]) -> GroupBatch:
    groups, _ = random_groups(sizes=(len(values),))
    return replace(groups, reward_parts={"other": torch.ones(len(values)), "accuracy": torch.tensor(values)})


def draw(seed: int, num_prompts: int, num_samples: int) -> tuple[list[float], list[list[float]]]:
    generator = torch.Generator().manual_seed(seed)
    samples = (torch.rand(num_prompts, num_samples, generator=generator) < 0.3).double()
    return (torch.rand(num_prompts, generator=generator) < 0.5).double().tolist(), samples.tolist()


@pytest.mark.parametrize(
    ("num_samples", "draws"), [(1, [1]), (2, [2]), (3, [2, 3]), (6, [2, 4, 6]), (8, [2, 4, 8]), (9, [2, 4, 8, 9])]
)
def test_against_plain_python_over_several_updates(num_samples: int, draws: list[int]):
    metric = PolicyEvaluation(num_samples, "accuracy")
    greedy, samples, lengths, entropies, divergences = [], [], [], [], []
    for seed, num_prompts in enumerate((5, 1, 3)):
        of_greedy, of_samples = draw(seed, num_prompts, num_samples)
        drawn = correct([value for row in of_samples for value in row])
        entropy = torch.rand(int(drawn.response_mask.sum()))
        kl = torch.rand_like(entropy)
        metric.update(correct(of_greedy), drawn, entropy, kl)
        greedy += of_greedy
        samples += of_samples
        lengths += drawn.response_mask.sum(dim=1).tolist()
        entropies += entropy.tolist()
        divergences += kl.tolist()
    passed = {
        f"pass@{k}": fmean(pass_at_k_by_enumeration(num_samples, int(sum(row)), k) for row in samples) for k in draws
    }
    assert {name: value.item() for name, value in metric.compute().items()} == pytest.approx(
        {
            "greedy_accuracy": fmean(greedy),
            f"mean@{num_samples}": fmean(value for row in samples for value in row),
            **passed,
            "response_length": fmean(lengths),
            "entropy": fmean(entropies),
            "kl": fmean(divergences),
        },
        rel=1e-6,
    )


def test_kl_is_left_out_where_it_was_not_measured():
    metric = PolicyEvaluation(2, "accuracy")
    drawn = correct([1.0, 0.0])
    metric.update(correct([1.0]), drawn, torch.zeros(int(drawn.response_mask.sum())), None)
    assert "kl" not in metric.compute()


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
        ValueError, match=r"`evaluation.reward`: 'accuracy' gave None .* prompt '2\+2='.*every response"
    ):
        metric.update(correct([1.0, 1.0]), groups, torch.rand(4), None)
