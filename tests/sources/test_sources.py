"""Demonstrations that come with the data, and the policy's own samples."""

from __future__ import annotations

from collections import Counter

import pytest

from lightning_gft import ExpertSource, Response, ResponseSource, SamplingParams, SelfSource, Source, TeacherSource
from lightning_gft.data import Example
from lightning_gft.sources import DatasetSource
from tests.tiny import prompt_batch, tiny_policy

PROMPTS = ["1+1=", "2+2=", "3+3="]
GIVEN = [["a", "b", "c", "d"], ["e"], []]


@pytest.fixture(scope="module")
def policy():
    return tiny_policy()


def texts(source: DatasetSource, policy, seed: int) -> list[list[str]]:
    batch = prompt_batch(policy.tokenizer, PROMPTS, demonstrations={source.role: GIVEN})
    return [[policy.decode(r.token_ids) for r in responses] for responses in source.respond(batch, policy, seed)]


@pytest.mark.parametrize(("cls", "counts_as"), [(ExpertSource, Source.EXPERT), (TeacherSource, Source.TEACHER)])
def test_demonstrations_are_given_as_they_are(cls: type[DatasetSource], counts_as: Source, policy):
    assert cls.source == counts_as
    assert texts(cls(4), policy, 0) == GIVEN
    assert texts(cls(100), policy, 0) == GIVEN


def test_more_demonstrations_than_wanted_are_chosen_by_the_seed(policy):
    chosen = [texts(TeacherSource(2), policy, seed) for seed in range(60)]
    assert chosen == [texts(TeacherSource(2), policy, seed) for seed in range(60)]
    seen = Counter(text for first, *_ in chosen for text in first)
    assert set(seen) == set(GIVEN[0])
    assert max(seen.values()) < 2 * min(seen.values())
    for first, second, third in chosen:
        assert len(set(first)) == 2
        assert (second, third) == (GIVEN[1], GIVEN[2])


@pytest.mark.parametrize(("source", "column"), [(ExpertSource(), "expert_column"), (TeacherSource(), "teacher_column")])
def test_a_role_that_the_data_lacks_is_named_with_the_remedy(source: DatasetSource, column: str, policy):
    batch = prompt_batch(policy.tokenizer, PROMPTS, demonstrations={"another": GIVEN})
    got = f"got no columns and none as data.{column}; name one there, .* or leave {type(source).__name__} out"
    with pytest.raises(ValueError, match=f"^`{type(source).__name__}`: expected a column of {source.role} .*, {got}"):
        source.respond(batch, policy, 0)


def test_self_source_is_the_policys_generate(policy):
    source = SelfSource(num_generations=3, max_new_tokens=5, temperature=0.8, top_p=0.9, top_k=7, min_p=0.01)
    batch = prompt_batch(policy.tokenizer, PROMPTS)
    sampling = SamplingParams(max_new_tokens=5, temperature=0.8, top_p=0.9, top_k=7, min_p=0.01)
    assert source.source == Source.SELF
    assert source.respond(batch, policy, 4) == policy.generate(batch.prompt_ids, 3, sampling, 4)


@pytest.mark.parametrize("cls", [ExpertSource, TeacherSource, SelfSource])
def test_number_of_responses_is_checked(cls: type):
    with pytest.raises(
        ValueError,
        match=rf"`num_(responses|generations)` of {cls.__name__}: expected a whole number of at least 1, got 0",
    ):
        cls(0)
    with pytest.raises(TypeError, match=r"expected a whole number of at least 1, got 1\.5"):
        cls(1.5)


def test_greedy_decoding_gives_one_response():
    assert SelfSource(1, temperature=0.0).num_responses == 1
    with pytest.raises(ValueError, match="expected 1 with temperature=0, got 2; greedy decoding gives the same"):
        SelfSource(2, temperature=0.0)


def rows(*numbers: int) -> list[Example]:
    """Return rows with so many demonstrations of a teacher."""
    given = [[Response([1, 2])] * number for number in numbers]
    return [Example([1], "1=", "1", {"teacher": of_row}, {}, row=i) for i, of_row in enumerate(given)]


def test_rows_without_the_role_are_refused_before_training():
    TeacherSource(2).check_rows(rows(2, 0, 3))
    SelfSource().check_rows(rows(0))
    with pytest.raises(ValueError, match=r"^`ExpertSource`: expected a column of expert responses, got no col"):
        ExpertSource().check_rows(rows(1))
    with pytest.warns(UserWarning, match="expected rows with 4 teacher demonstrations, got at most 3"):
        TeacherSource(4).check_rows(rows(2, 3))


@pytest.mark.parametrize(
    ("source", "draws", "longest"),
    [(ExpertSource(), False, 0), (TeacherSource(), False, 0), (SelfSource(max_new_tokens=7), True, 7)],
)
def test_what_a_source_asks_of_the_policy(source: ResponseSource, draws: bool, longest: int):
    assert source.draws() == draws
    assert source.longest_response() == longest


def test_a_source_of_others_may_draw_and_refuses_no_row():
    class Fixed(ResponseSource):
        source = Source.TEACHER

        def respond(self, prompts, policy, seed):
            return [[Response(policy.encode("7"))] for _ in prompts.prompt_ids]

    source = Fixed(1)
    assert (source.draws(), source.longest_response(), source.compute()) == (True, 0, {})
    source.check_rows(rows(0))
    source.setup()
    source.close()
