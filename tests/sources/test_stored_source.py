"""Responses of groups that were kept, as those of another source too."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from lightning_gft import (
    ExactMatchReward,
    GroupSampler,
    PromptBatch,
    Response,
    SamplingParams,
    Source,
    StoredSource,
)
from lightning_gft.data import Example
from tests.tiny import prompt_batch, tiny_policy

OWN = [
    [Response([5, 1], logprobs=[-1.0, -2.0]), Response([6, 7], finished=False, logprobs=[-1.0, -3.0]), Response([1])],
    [Response([8, 9, 1], logprobs=[-0.5, -0.5, -0.5])],
    [],
]
STORED = {"self": OWN, "teacher": [[Response([5, 5, 1])], [], []], "expert": [[], [], []]}


class NoPolicy:
    """A policy that must not be asked to generate."""

    def __init__(self) -> None:
        self._policy = tiny_policy()

    def __getattr__(self, name: str) -> Any:
        assert name != "generate", "nothing is generated"
        return getattr(self._policy, name)


@pytest.fixture(scope="module")
def policy() -> Any:
    return NoPolicy()


def batch_of(policy: Any, stored: dict[str, list[list[Response]]]) -> PromptBatch:
    return replace(prompt_batch(policy.tokenizer, ["1+1=", "2+2=", "3+3="], ["2", "4", "6"]), stored=stored)


def test_own_samples_are_given_as_they_were_drawn(policy):
    source = StoredSource("self", num_responses=3)
    assert source.source == Source.SELF
    assert source.respond(batch_of(policy, STORED), policy, 0) == OWN


@pytest.mark.parametrize("kind", ["teacher", "expert"])
def test_demonstrations_are_whole_and_have_no_log_probabilities(kind: Any, policy):
    source = StoredSource("self", as_source=kind, num_responses=3)
    assert source.source == Source[kind.upper()]
    given = source.respond(batch_of(policy, STORED), policy, 0)
    assert given == [[Response([5, 1])], [Response([8, 9, 1])], []]


def test_what_a_stop_string_has_ended_gets_an_end_as_a_demonstration_alone(policy):
    cut = [[Response([5, 6, 7], logprobs=[-1.0] * 3)], [], []]
    batch = batch_of(policy, {"self": cut})
    assert StoredSource("self").respond(batch, policy, 0) == cut
    [[demonstration], *_] = StoredSource("self", as_source="teacher").respond(batch, policy, 0)
    assert demonstration == Response([5, 6, 7, policy.tokenizer.eos_token_id])


def test_more_than_are_wanted_are_chosen_by_the_seed_and_the_place(policy):
    many = {"self": [[Response([n, 1]) for n in range(4, 10)], [], []]}
    batch = batch_of(policy, many)

    def chosen(seed: int, of: PromptBatch = batch) -> list[int]:
        responses = StoredSource("self", as_source="teacher", num_responses=2).respond(of, policy, seed)[0]
        return [response.token_ids[0] for response in responses]

    assert all(chosen(seed) == chosen(seed) for seed in range(5))
    seen = Counter(token for seed in range(60) for token in chosen(seed))
    assert set(seen) == set(range(4, 10))
    assert max(seen.values()) < 3 * min(seen.values())
    turned = replace(batch, stored={"self": list(reversed(many["self"]))}, places=[2, 1, 0])
    responses = StoredSource("self", as_source="teacher", num_responses=2).respond(turned, policy, 7)[2]
    assert [response.token_ids[0] for response in responses] == chosen(7)


def test_nothing_is_asked_of_the_policy_and_no_demonstration_of_the_data(policy):
    source = StoredSource("teacher")
    assert not source.draws()
    assert (source.reads(), source.gives(), source.longest_response()) == (frozenset(), frozenset(), 0)
    sampler = GroupSampler(
        {"own": StoredSource("self", num_responses=3), "teacher": StoredSource("teacher")},
        {"accuracy": ExactMatchReward()},
    )
    groups = sampler.sample(batch_of(policy, STORED), policy, 0)
    assert groups.source.tolist() == [Source.SELF] * 3 + [Source.TEACHER, Source.SELF]
    assert groups.finished.tolist() == [True, False, True, True, True]
    assert groups.sampling_logprobs is not None
    assert groups.sampling_logprobs[0][groups.response_mask[0]].tolist() == [-1.0, -2.0]
    assert groups.sampling_logprobs.isnan().any(dim=1).tolist() == [False, False, True, True, False]  # not known


def rows(stored: dict[str, list[list[Response]]]) -> list[Example]:
    return [
        Example([4], "1=", "1", {}, {}, row=n, stored={source: given[n] for source, given in stored.items()})
        for n in range(3)
    ]


def test_data_are_looked_at_before_training(recwarn):
    StoredSource("self", num_responses=3).check_rows(rows(STORED))
    assert not recwarn.list
    with pytest.warns(UserWarning, match="got 2 of 4 that are truncated or blank; they are left out as teach"):
        StoredSource("self", as_source="teacher", num_responses=1).check_rows(rows(STORED))
    with pytest.warns(UserWarning, match="of StoredSource: expected rows with 4 stored self responses, got at most 3"):
        StoredSource("self", num_responses=4).check_rows(rows(STORED))


@pytest.mark.parametrize(
    ("source", "stored", "got"),
    [
        (StoredSource("expert"), STORED, "expected expert responses in the data, got self and teacher; give"),
        (StoredSource("self"), {}, "expected self responses in the data, got none; give as data.path"),
        (StoredSource("self", "teacher"), {"self": [OWN[0][1:], [], []]}, "got 2 that are truncated or blank"),
    ],
)
def test_data_without_such_responses_are_refused(source: StoredSource, stored: Any, got: str, policy):
    with pytest.raises(ValueError, match=got):
        source.check_rows(rows(stored))
    if not stored:
        with pytest.raises(ValueError, match="expected self responses in the data, got none"):
            source.respond(batch_of(policy, stored), policy, 0)


@pytest.mark.parametrize("option", ["stored", "as_source"])
def test_another_origin_is_refused(option: str):
    with pytest.raises(ValueError, match=f"`{option}` of StoredSource: expected self, teacher or expert, got 'x'"):
        StoredSource(**{option: "x"})
    with pytest.raises(ValueError, match="`num_responses` of StoredSource: expected a whole number of at least 1"):
        StoredSource(num_responses=0)


def test_the_policy_of_the_tests_would_notice(policy):
    with pytest.raises(AssertionError, match="nothing is generated"):
        policy.generate([[4]], 1, SamplingParams(), 0)
