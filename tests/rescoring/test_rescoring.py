"""Stored groups are scored anew: the same rewards change nothing, others what they say, and nothing is done twice."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lightning_gft import (
    ExactMatchReward,
    ExpertSource,
    FormatReward,
    GatedSum,
    GroupNormalizedAdvantage,
    GroupSampler,
    NumericReward,
    Policy,
    Reward,
    SelfSource,
)
from lightning_gft.rescoring import Changes, rescore_folder
from lightning_gft.rescoring.rescoring import rescored_info
from lightning_gft.stored import StoredGroup, StoredGroups, StoredInfo, stored_groups, write_shard
from tests.tiny import prompt_batch, tiny_policy

PROMPTS = [f"{n}+1=" for n in range(6)]


class Length(Reward):
    """Length of the text, for own samples alone."""

    def needs(self) -> Any:
        return frozenset({"response_source", "response_tokens"})

    def __call__(
        self, *, responses: Sequence[str], response_source: Any, response_tokens: Any, **rest: Any
    ) -> list[float | None]:
        facts = zip(responses, response_source, response_tokens, strict=True)
        return [len(text) / 3 + tokens if source == "self" else None for text, source, tokens in facts]


def sampler(**rewards: Reward) -> GroupSampler:
    sources = {"gold": ExpertSource(), "own": SelfSource(4, max_new_tokens=4)}
    named: dict[str, Reward] = {"exact": ExactMatchReward(), "length": Length(weight=0.1), **rewards}
    return GroupSampler(sources, named, GroupNormalizedAdvantage(scale="batch"))


@pytest.fixture(scope="module")
def policy() -> Policy:
    return tiny_policy()


@pytest.fixture
def folder(tmp_path: Path, policy: Policy) -> Path:
    """Six groups in three shards, as a run samples and writes them."""
    whole = prompt_batch(
        policy.tokenizer, PROMPTS, [str(n + 1) for n in range(6)], {"expert": [[f"{n + 1}"] for n in range(6)]}
    )
    whole.columns = {"level": [*range(6)]}
    whole.rows = [*range(6)]
    info = rescored_info(sampler(), StoredInfo("tokenizer", {}, {"seed": "0"}, prompts=6))
    for step in range(3):
        prompts = replace(whole[2 * step : 2 * step + 2], places=None)
        groups = sampler().sample(prompts, policy, seed=step)
        kept = stored_groups(groups, prompts, lambda ids: policy.decode(ids, skip_special_tokens=False), step)
        write_shard(tmp_path / "groups", kept, info, step)
    return tmp_path / "groups"


def groups_of(folder: Path) -> list[StoredGroup]:
    return [replace(group, scoring_seconds=0.0) for group in StoredGroups(folder)]


def test_the_same_rewards_change_nothing_to_the_bit(folder: Path, tmp_path: Path):
    changes = rescore_folder(sampler(), folder, tmp_path / "new", tolerance=0)
    assert groups_of(tmp_path / "new") == groups_of(folder)
    assert StoredGroups(tmp_path / "new").info == StoredGroups(folder).info
    assert [path.name for path in sorted((tmp_path / "new").iterdir())] == [
        path.name for path in sorted(folder.iterdir())
    ]
    assert (changes.groups, changes.responses, changes.changed) == (6, 30, 0)
    assert [*changes.rewards] == ["reward", "exact", "length"]
    assert {(each.same, each.up, each.down, each.other) for each in changes.rewards.values()} == {(30, 0, 0, 0)}
    assert changes.rewards["length"].responses == [24, 24]
    assert not changes.examples


def test_other_rewards_change_rewards_and_advantages_alone(folder: Path, tmp_path: Path):
    new = GroupSampler(sampler().sources, {"exact": NumericReward(), "digits": FormatReward("[0-9]+")})
    rescore_folder(new, folder, tmp_path / "new")
    for old, now in zip(groups_of(folder), groups_of(tmp_path / "new"), strict=True):
        assert replace(old, responses=[]) == replace(now, responses=[])
        for one, other in zip(old.responses, now.responses, strict=True):
            assert replace(one, reward=0, rewards={}, advantage=0) == replace(other, reward=0, rewards={}, advantage=0)
            assert other.reward == sum(float(score or 0) for score in other.rewards.values())
            assert list(other.rewards) == ["exact", "digits"]
    info = StoredGroups(tmp_path / "new").info
    assert info.rewards == {"exact": 1.0, "digits": 1.0}
    assert info.settings["seed"] == "0"
    assert "reward `length`" not in info.settings
    assert info.settings["reward `digits`"].startswith("FormatReward(")


def test_the_total_is_the_samplers_own(folder: Path, tmp_path: Path):
    rewards: dict[str, Reward] = {"long": FormatReward("..+"), "exact": ExactMatchReward()}
    gated = GroupSampler(sampler().sources, rewards, total=GatedSum({"exact": "long"}))
    rescore_folder(gated, folder, tmp_path / "new")
    open_gate = GroupSampler(sampler().sources, rewards, total=GatedSum({"long": "exact"}))
    with pytest.raises(ValueError, match=r"whose groups have other settings \(total\); choose another"):
        rescore_folder(open_gate, folder, tmp_path / "new")
    responses = [response for group in groups_of(tmp_path / "new") for response in group.responses]
    golden = [response for response in responses if response.source == "expert"]
    assert {response.rewards["exact"] for response in golden} == {1.0}
    assert {response.reward for response in golden} == {0.0}, "the gate is shut for one character"


def test_what_is_scored_is_not_scored_again(folder: Path, tmp_path: Path):
    class Failing(Reward):
        calls = 0

        def __init__(self, failing_at: int) -> None:
            super().__init__()
            self._at, self.seen = failing_at, 0

        def __call__(self, *, responses: Sequence[str], **rest: Any) -> list[float]:
            self.seen += 1
            if self.seen == self._at:
                raise RuntimeError("the disk is full")
            return [1.0] * len(responses)

    with pytest.raises(RuntimeError, match="the disk is full"):
        rescore_folder(sampler(other=Failing(3)), folder, tmp_path / "new")
    written = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert written == [path.name for path in sorted(folder.iterdir())][:2]
    (tmp_path / "new" / ".groups-000002-000.parquet-4194317").write_text("what a kill leaves")
    resumed = Failing(99)
    changes = rescore_folder(sampler(other=resumed), folder, tmp_path / "new")
    assert resumed.seen == 1
    assert (changes.groups, changes.only_now["other"].mean(1)) == (6, 1.0)
    whole = rescore_folder(sampler(other=Failing(99)), folder, tmp_path / "whole")
    assert whole == changes
    assert groups_of(tmp_path / "new") == groups_of(tmp_path / "whole")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        path.name for path in sorted(folder.iterdir())
    ]


def test_folders_that_hold_something_else_are_refused(folder: Path, tmp_path: Path):
    rescore_folder(sampler(), folder, tmp_path / "new")
    with pytest.raises(ValueError, match=r"`output`: expected a new folder or one .* other settings \(reward `more`\)"):
        rescore_folder(sampler(more=FormatReward("x")), folder, tmp_path / "new")
    with pytest.raises(ValueError, match="`output`: expected another folder than groups"):
        rescore_folder(sampler(), folder, folder)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"`output`: expected a new or empty folder, got .* with other files; choose"):
        rescore_folder(sampler(), folder, tmp_path)
    with pytest.raises(ValueError, match="`output`: expected a new or empty folder"):
        rescore_folder(sampler(), folder, tmp_path / "notes.txt")
    with pytest.raises(ValueError, match="expected a folder that `lightning-gft predict` has written"):
        rescore_folder(sampler(), tmp_path / "nothing", tmp_path / "more")
    assert not (tmp_path / "more").exists()


def test_a_setting_that_is_a_list_is_noticed_too(folder: Path, tmp_path: Path):
    class Words(Reward):
        def __init__(self, words: list[str]) -> None:
            super().__init__()
            self.words = words

        def __call__(self, *, responses: Sequence[str], **rest: Any) -> list[float]:
            return [float(text in self.words) for text in responses]

    rescore_folder(sampler(words=Words(["1"])), folder, tmp_path / "new")
    rescore_folder(sampler(words=Words(["1"])), folder, tmp_path / "new")
    with pytest.raises(ValueError, match=r"other settings \(reward `words`\); choose another"):
        rescore_folder(sampler(words=Words(["1", "2"])), folder, tmp_path / "new")


def test_data_that_a_reward_cannot_score_is_an_error_before_any_is(folder: Path, tmp_path: Path):
    class Levels(Reward):
        def check_row(self, reference: Any, columns: Any) -> None:
            if columns["level"] == 5:
                raise ValueError(f"expected a level below 5, got {columns['level']}")

        def __call__(self, *, responses: Sequence[str], **rest: Any) -> list[float]:
            raise AssertionError("scored")

    with pytest.raises(ValueError, match=r"stored groups, row 5 .*: reward 'level' cannot score it: expected a level"):
        rescore_folder(sampler(level=Levels()), folder, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def scored(group: StoredGroup, **rewards: list[float | None]) -> StoredGroup:
    """Return a group with other rewards; the total is their sum."""
    columns = [dict(zip(rewards, row, strict=True)) for row in zip(*rewards.values(), strict=True)]
    responses = [
        replace(response, rewards=own, reward=sum(score or 0.0 for score in own.values()))
        for response, own in zip(group.responses, columns, strict=False)
    ]
    return replace(group, responses=responses)


def test_what_has_changed_is_counted(folder: Path):
    group = groups_of(folder)[0]
    before = [scored(group, a=[1.0, 0.0, 1.0], old=[0.0, 0.0, 0.0]), scored(group, a=[1.0, 1.0], old=[0.0, 0.0])]
    now = [scored(group, a=[1.0, 1.0, None], new=[0.0, 0.0, 1.0]), scored(group, a=[1.0, 0.5], new=[0.0, 0.0])]
    changes = Changes(tolerance=1e-6)
    changes.add(before, now)
    a = changes.rewards["a"]
    assert (a.up, a.down, a.same, a.other) == (1, 1, 2, 1)
    assert (a.mean(0), a.mean(1)) == (0.8, 3.5 / 4)
    total = changes.rewards["reward"]
    assert (total.up, total.down, total.same) == (1, 1, 3)
    assert (changes.only_before["old"].mean(0), changes.only_now["new"].mean(1)) == (0.0, 0.2)
    assert (changes.differing, changes.differ_now, changes.equal_now) == ([1, 1], 1, 1)
    assert [example.now["reward"] for example in changes.examples] == [1.0, 0.5]
    within = Changes(tolerance=0.5)
    within.add(before, now)
    assert within.rewards["a"].down == 0


def test_paths_that_cannot_be_meant_are_refused(folder: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="`output`: expected a folder outside of groups, got"):
        rescore_folder(sampler(), folder, folder / "new")
    with pytest.raises(ValueError, match="got one that does not exist; correct the path"):
        rescore_folder(sampler(), tmp_path / "nowhere", tmp_path / "new")
    shutil.copytree(folder, tmp_path / "run/groups")
    with pytest.raises(ValueError, match=f"got another; give {tmp_path}/run/groups$"):
        rescore_folder(sampler(), tmp_path / "run", tmp_path / "new")


def test_what_was_scored_before_is_counted(folder: Path, tmp_path: Path):
    assert rescore_folder(sampler(), folder, tmp_path / "new").scored == 6
    assert rescore_folder(sampler(), folder, tmp_path / "new").scored == 0
