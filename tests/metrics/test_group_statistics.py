from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from statistics import fmean, stdev

import pytest
import torch

from lightning_gft import GroupBatch, Source
from lightning_gft.metrics import GroupStatistics
from tests.reference import random_groups


def scored(seed: int, sizes: tuple[int, ...] = (1, 3, 5, 2)) -> GroupBatch:
    groups, _ = random_groups(seed, sizes)
    index = groups.group_index
    rewards = torch.where(index == index.max(), 0.25, groups.rewards)  # one group of equal rewards,
    rewards = torch.where(index == index.min(), 0.5 + rewards / 1000, rewards)  # and one of almost equal ones
    generator = torch.Generator().manual_seed(seed)
    return replace(
        groups,
        rewards=rewards,
        finished=torch.rand(len(groups), generator=generator) < 0.5,
        reward_parts={"one": rewards / 2, "two": torch.rand(len(groups), generator=generator)},
    )


def expected(batches: list[GroupBatch], num_prompts: int) -> dict[str, float]:
    rewards, parts, deviations, sizes, by_source, own = [], {"one": [], "two": []}, [], [], {}, []
    for groups in batches:
        of_group: dict[int, list[float]] = {}
        for n in range(len(groups)):
            reward, source = groups.rewards[n].item(), Source(int(groups.source[n])).name.lower()
            rewards.append(reward)
            of_group.setdefault(int(groups.group_index[n]), []).append(reward)
            by_source.setdefault(source, []).append(reward)
            for name in parts:
                parts[name].append(groups.reward_parts[name][n].item())
            if source == "self":
                own.append((int(groups.response_mask[n].sum()), bool(groups.finished[n])))
        deviations += [stdev(values) if len(values) > 1 else 0.0 for values in of_group.values()]
        sizes += [len(values) for values in of_group.values()]
    return {
        "reward": fmean(rewards),
        "reward_std": fmean(deviations),
        **{f"reward_by_source/{source}": fmean(values) for source, values in by_source.items()},
        **{f"rewards/{name}/mean": fmean(values) for name, values in parts.items()},
        "frac_reward_zero_std": fmean(
            deviation == 0 and size > 1 for deviation, size in zip(deviations, sizes, strict=True)
        ),
        "frac_groups_of_one": fmean(size == 1 for size in sizes),
        "frac_prompts_without_group": 1 - len(deviations) / num_prompts,
        "completions/mean_length": fmean(length for length, _ in own),
        "completions/clipped_ratio": fmean(not finished for _, finished in own),
    }


def computed(statistics: GroupStatistics) -> dict[str, float]:
    return {name: value.item() for name, value in statistics.compute().items()}


def test_against_plain_python_over_several_updates():
    batches = [scored(0), scored(1, (4, 2)), scored(2, (2, 2, 6, 1, 3))]
    statistics = GroupStatistics(["one", "two"])
    for groups, num_prompts in zip(batches, (4, 5, 7), strict=True):
        statistics.update(groups, num_prompts)
    assert computed(statistics) == pytest.approx(expected(batches, 16), rel=1e-6)
    statistics.reset()
    statistics.update(batches[1], 2)
    assert computed(statistics) == pytest.approx(expected(batches[1:2], 2), rel=1e-6, abs=1e-9)


def test_sources_that_gave_nothing_are_left_out():
    groups = replace(scored(0), source=torch.full((11,), int(Source.TEACHER)))
    statistics = GroupStatistics(["one", "two"])
    statistics.update(groups, 4)
    values = computed(statistics)
    assert values["reward_by_source/teacher"] == pytest.approx(values["reward"])
    assert {
        "reward_by_source/expert",
        "reward_by_source/self",
        "completions/mean_length",
        "completions/clipped_ratio",
    }.isdisjoint(values)


def with_parts(groups: GroupBatch, applies: torch.Tensor) -> GroupBatch:
    parts = torch.where(applies, groups.rewards, torch.nan)
    return replace(groups, reward_parts={"one": groups.rewards, "two": parts})


def test_a_reward_is_averaged_over_the_responses_that_it_applies_to_in_all_processes():
    batches = [scored(seed) for seed in range(3)]
    masks = [torch.arange(11) % 3 == 0, torch.zeros(11, dtype=torch.bool), torch.arange(11) < 2]
    ranks = [GroupStatistics(["one", "two"]) for _ in batches]
    for rank, groups, mask in zip(ranks, batches, masks, strict=True):
        rank.update(with_parts(groups, mask), num_prompts=4)
    assert "rewards/two/mean" not in deepcopy(ranks[1]).compute()
    whole = ranks[1]  # one to which the reward never applies
    for name in whole.metric_state:
        setattr(whole, name, sum(getattr(rank, name) for rank in ranks))  # as processes are reduced
    scores = [groups.rewards[mask] for groups, mask in zip(batches, masks, strict=True)]
    assert whole.compute()["rewards/two/mean"].item() == pytest.approx(torch.cat(scores).double().mean().item())
    assert all(value.isfinite() for value in whole.compute().values())
