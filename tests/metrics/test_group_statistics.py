from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from math import isnan, nan
from statistics import fmean, stdev

import pytest
import torch

from lightning_gft import GroupBatch, Source
from lightning_gft.metrics import Correctness, GroupStatistics
from tests.reference import random_groups

CORRECTNESS = Correctness("two", least=0.5)
NAMES = ["one", "two"]
BATCHES = [(4, (1, 3, 5, 2)), (5, (4, 2)), (7, (2, 2, 6, 1, 3))]


def scored(seed: int, sizes: tuple[int, ...] = (1, 3, 5, 2)) -> GroupBatch:
    groups, _ = random_groups(seed, sizes)
    index, number = groups.group_index, len(groups)
    rewards = torch.where(index == index.max(), 0.25, groups.rewards)  # one group of equal rewards,
    rewards = torch.where(index == index.min(), 0.5 + rewards / 1000, rewards)  # and one of almost equal ones
    generator = torch.Generator().manual_seed(seed)
    two = torch.rand(number, generator=generator)
    two[index == index.max()] = 1.0
    two[torch.randint(number, (1,), generator=generator)] = nan
    texts = torch.randint(4, (number,), generator=generator).tolist()
    return replace(
        groups,
        rewards=rewards,
        finished=torch.rand(number, generator=generator) < 0.5,
        reward_parts={"one": rewards / 2, "two": two},
        responses=[f"{text}." for text in texts],
        answers={"two": [None if text == 3 else str(text % 2) for text in texts]},
    )


BATCHED = [scored(seed, sizes) for seed, (_, sizes) in enumerate(BATCHES)]


def expected(batches: list[GroupBatch], num_prompts: int) -> dict[str, float]:
    """Return every figure by a plain walk over the responses."""
    rewards, by_source, by_name = [], {}, {"one": [], "two": []}
    members: list[list[dict[str, object]]] = []
    for groups in batches:
        of_group: dict[int, list[dict[str, object]]] = {}
        for n in range(len(groups)):
            response = {
                "source": Source(int(groups.source[n])).name.lower(),
                "reward": groups.rewards[n].item(),
                "advantage": groups.advantages[n].item(),
                "length": int(groups.response_mask[n].sum()),
                "clipped_ratio": not groups.finished[n],
                "right": groups.reward_parts["two"][n].item(),
                "text": groups.responses[n],
                "answer": groups.answers["two"][n],
            }
            rewards.append(response["reward"])
            of_group.setdefault(int(groups.group_index[n]), []).append(response)
            by_source.setdefault(response["source"], []).append(response)
            for name, values in by_name.items():
                if not isnan(value := groups.reward_parts[name][n].item()):
                    values.append(value)
        members += of_group.values()
    deviations = [stdev(r["reward"] for r in group) if len(group) > 1 else 0.0 for group in members]
    return {
        "reward": fmean(rewards),
        "reward_std": fmean(deviations),
        **{f"rewards/{name}/mean": fmean(values) for name, values in by_name.items()},
        "frac_reward_zero_std": fmean(
            deviation == 0 and len(group) > 1 for deviation, group in zip(deviations, members, strict=True)
        ),
        "frac_groups_of_one": fmean(len(group) == 1 for group in members),
        "frac_prompts_without_group": 1 - len(members) / num_prompts,
        **{
            f"{figure}_by_source/{source}": fmean(response[figure] for response in responses)
            for figure in ("reward", "advantage", "length", "clipped_ratio")
            for source, responses in by_source.items()
        },
        "completions/mean_length": fmean(response["length"] for response in by_source["self"]),
        "completions/clipped_ratio": fmean(response["clipped_ratio"] for response in by_source["self"]),
        **of_own_samples(members),
    }


def of_own_samples(members: list[list[dict[str, object]]]) -> dict[str, float]:
    duplicates, distinct, verdicts = [], [], []
    for group in members:
        own = [response for response in group if response["source"] == "self"]
        for place, response in enumerate(group):
            if response["source"] == "self":
                duplicates.append(any(earlier["text"] == response["text"] for earlier in group[:place]))
        if own:
            distinct.append(len({response["answer"] for response in own} - {None}))
        if right := [response["right"] >= 0.5 for response in own if not isnan(response["right"])]:
            verdicts.append("all_right" if all(right) else "mixed" if any(right) else "all_wrong")
    return {
        "frac_duplicates": fmean(duplicates),
        "distinct_answers": fmean(distinct),
        **{
            f"frac_groups_{kind}": fmean(verdict == kind for verdict in verdicts)
            for kind in ("all_right", "all_wrong", "mixed")
        },
    }


def counted(*batches: tuple[GroupBatch, int]) -> GroupStatistics:
    statistics = GroupStatistics(NAMES)
    for groups, num_prompts in batches:
        statistics.update(groups, num_prompts, CORRECTNESS)
    return statistics


def computed(statistics: GroupStatistics) -> dict[str, float]:
    return {name: value.item() for name, value in statistics.compute().items()}


def test_against_plain_python_over_several_updates():
    statistics = counted(*zip(BATCHED, (4, 5, 7), strict=True))
    values = expected(BATCHED, 16)
    assert computed(statistics) == pytest.approx(values, rel=1e-6)
    # So that no figure is right by chance.
    assert all(0 < values[f"frac_{name}"] < 1 for name in ("duplicates", "groups_all_right", "groups_mixed"))
    statistics.reset()
    statistics.update(BATCHED[1], 2, CORRECTNESS)
    assert computed(statistics) == pytest.approx(expected(BATCHED[1:2], 2), rel=1e-6, abs=1e-9)


def test_ranks_add_up_to_one_process():
    ranks = [counted(batch) for batch in zip(BATCHED, (4, 5, 7), strict=True)]
    whole = ranks[1]
    for name in whole.metric_state:
        setattr(whole, name, sum(getattr(rank, name) for rank in ranks))  # as processes are reduced
    assert computed(whole) == pytest.approx(expected(BATCHED, 16), rel=1e-6)


def test_a_rank_without_groups_adds_nothing():
    empty = BATCHED[0].select(torch.tensor([], dtype=torch.long))
    values = expected(BATCHED[1:2], 2)
    assert computed(counted((empty, 0), (BATCHED[1], 2))) == pytest.approx(values, rel=1e-6, abs=1e-9)
    assert computed(counted((empty, 1))) == {
        **dict.fromkeys(("reward", "reward_std", "frac_reward_zero_std", "frac_groups_of_one"), 0),
        "frac_prompts_without_group": 1,
    }


def test_what_is_not_known_is_left_out():
    statistics = GroupStatistics(NAMES)
    statistics.update(replace(BATCHED[0], responses=[], answers={}), 4)
    missing = {"frac_duplicates", "distinct_answers", "frac_groups_all_right", "frac_groups_all_wrong"}
    assert missing.isdisjoint(computed(statistics))
    statistics.update(replace(BATCHED[0], answers={"one": ["1"] * 11}), 4, CORRECTNESS)  # another reward's
    assert missing - computed(statistics).keys() == {"distinct_answers"}


def test_sources_that_gave_nothing_are_left_out():
    groups = replace(BATCHED[0], source=torch.full((11,), int(Source.TEACHER)))
    values = computed(counted((groups, 4)))
    assert values["reward_by_source/teacher"] == pytest.approx(values["reward"])
    left = {name for name in values if "/" not in name or "_by_source" in name or name.startswith("completions")}
    assert left == {
        *("reward", "reward_std", "frac_reward_zero_std", "frac_groups_of_one", "frac_prompts_without_group"),
        *(f"{figure}_by_source/teacher" for figure in ("reward", "advantage", "length", "clipped_ratio")),
    }


def test_a_demonstration_makes_an_own_sample_a_duplicate_and_is_none_itself():
    own, expert = int(Source.SELF), int(Source.EXPERT)
    groups = replace(
        BATCHED[1],
        group_index=torch.tensor([5, 5, 5, 8, 8, 8]),
        source=torch.tensor([expert, expert, own, own, own, own]),
        responses=["a", "a", "a", "a", "b", "b"],
    )
    assert computed(counted((groups, 2)))["frac_duplicates"] == 2 / 4


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
