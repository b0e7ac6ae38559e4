"""Which entries are drawn, in which order, and which are left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from lightning_gft.gym import generation
from lightning_gft.gym.entries import GymEntry
from lightning_gft.gym.generation import draw_mixture
from lightning_gft.gym.making import EntryMaker, EntryRequest
from lightning_gft.gym.tasks import GymTask, Task
from lightning_gft.rewards.failures import Failed

Make = Callable[[Sequence[EntryRequest]], list[Any]]


def _task(name: str = "chain_sum", **settings: Any) -> Task:
    return Task(name, GymTask(**{"task": "chain_sum", **settings}))


def _make(requests: Sequence[EntryRequest]) -> list[Any]:
    return [*map(EntryMaker(), requests)]


def _making(change: Callable[[EntryRequest, GymEntry], Any]) -> Make:
    return lambda requests: [change(request, made) for request, made in zip(requests, _make(requests), strict=True)]


def _questions(drawn: Sequence[tuple[Task, GymEntry]]) -> list[str]:
    return [entry.entry["question"] for _, entry in drawn]


def test_a_mixture_has_each_task_in_its_share() -> None:
    tasks = [_task("a", weight=3), _task("b", weight=1, config={"max_digits": 5}), _task("c", weight=0.5)]
    drawn = draw_mixture(tasks, 90, "0", _make, set())
    assert Counter(task.name for task, _ in drawn) == {"a": 60, "b": 20, "c": 10}
    assert [task.name for task, _ in drawn[:20]] != sorted(task.name for task, _ in drawn[:20])


def test_a_share_is_at_least_a_row() -> None:
    with pytest.raises(ValueError, match=r"`tasks.b.weight`: expected a share of at least one of 9 rows, got 0.01 of"):
        draw_mixture([_task("a"), _task("b", weight=0.01)], 9, "0", _make, set())


def test_questions_follow_from_the_key_alone() -> None:
    first, again, other = (
        _questions(draw_mixture([_task("a"), _task("b")], 40, key, _make, set())) for key in ("0", "0", "1")
    )
    assert first == again
    assert len({*first} & {*other}) < 3
    # Entry i of a seed is entry i - 1 of the next seed, which would make neighbours of almost the same rows.
    assert len({*_questions(draw_mixture([_task("a")], 40, "0", _make, set()))} & {*first}) >= 20


def test_making_them_in_other_numbers_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [_task("a", config={"max_terms": 2, "max_digits": 1}), _task("b")]
    whole = _questions(draw_mixture(tasks, 60, "0", _make, set()))
    monkeypatch.setattr(generation, "_AHEAD", 1)
    assert _questions(draw_mixture(tasks, 60, "0", _make, set())) == whole


def test_no_question_of_another_split() -> None:
    few = [_task(config={"max_terms": 2, "max_digits": 1})]  # 200 questions
    taken: set[str] = set()
    validation = _questions(draw_mixture(few, 60, "0/val", _make, taken))
    training = _questions(draw_mixture(few, 100, "0/train", _make, taken))
    assert len({*validation} | {*training}) == 160
    assert taken == {*validation, *training}


def test_questions_are_repeated_where_there_are_no_others() -> None:
    few = [_task(config={"max_terms": 2, "max_digits": 1})]
    taken = {*_questions(draw_mixture(few, 60, "0/val", _make, set()))}
    with pytest.warns(UserWarning, match="train data: .* of 300 rows repeat a question of another row"):
        training = _questions(draw_mixture(few, 300, "0/train", _make, set(taken)))
    assert len(training) == 300
    assert 120 <= len({*training}) <= 140
    assert not {*training} & taken


def test_other_splits_may_not_have_all_questions() -> None:
    task = _task(config={"max_terms": 2, "max_digits": 1})
    every = {*_questions(draw_mixture([task], 200, "0", _make, set()))}
    everything = _making(lambda request, made: GymEntry(made.task, {}, {**made.entry, "question": min(every)}))
    with pytest.raises(ValueError, match=r"`tasks.chain_sum`: expected more different questions than those of valid"):
        draw_mixture([task], 1, "1", everything, every)


def test_levels_rise_from_the_first_row_to_the_last() -> None:
    task = _task(levels=[{"num_terms": 0}, {"num_terms": 4}])
    drawn = draw_mixture([task, _task("other")], 80, "0", _make, set())
    terms = [entry.entry["metadata"]["num_terms"] for of, entry in drawn if of is task]
    first = [entry.entry["metadata"]["num_terms"] for of, entry in drawn[:40] if of is task]
    assert set(first) == {2}
    assert max(terms[len(first) :]) > 2


def test_entries_whose_own_answer_fails_are_left_out() -> None:
    def spoil(request: EntryRequest, made: GymEntry) -> GymEntry:
        return GymEntry(made.task, {}, made.entry, {**made.scores, "own": 0.5 if request.index % 3 else 1.0})

    with pytest.warns(UserWarning, match=r"tasks.chain_sum: 20 of the first 3\d entries were left out, 20 of .* 0.5"):
        drawn = draw_mixture([_task()], 30, "0", _making(spoil), set())
    assert all(entry.scores["own"] == 1.0 for _, entry in drawn)


def test_a_task_without_fit_entries_is_refused() -> None:
    spoil = _making(lambda request, made: Failed("error", "raised ValueError: no words"))
    with pytest.raises(ValueError, match=r"`tasks.chain_sum`: .*where making one raised ValueError: no words in 20 of"):
        draw_mixture([_task()], 30, "0", spoil, set())


@pytest.mark.parametrize("kind", ["timeout", "memory", "crash"])
def test_an_entry_that_depends_on_the_machine_is_refused(kind: Any) -> None:
    def spoil(request: EntryRequest, made: GymEntry) -> Any:
        return Failed(kind, "took longer than seconds=120") if request.index == 9 else made

    with pytest.raises(ValueError, match=r"`tasks.chain_sum`: expected entries that can be .*, got one that took"):
        draw_mixture([_task()], 30, "0", _making(spoil), set())


def test_a_scorer_that_accepts_anything_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`tasks.life`: .*game_of_life_halting, where the answer '\?' gets the full"):
        draw_mixture([_task("life", task="game_of_life_halting")], 12, "0", _make, set())


def test_a_scorer_that_does_not_read_the_question_is_warned_of() -> None:
    swap = _making(lambda request, made: GymEntry(made.task, {}, made.entry, {**made.scores, "other": 1.0}))
    with pytest.warns(UserWarning, match="the scorer of chain_sum accepts answers to other questions"):
        draw_mixture([_task()], 12, "0", swap, set())


def test_what_takes_long_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(generation, "rank_zero_info", said.append)
    monkeypatch.setattr(generation, "_QUIET_SECONDS", 0.0)
    draw_mixture([_task("a"), _task("b")], 4, "0", _make, set(), what="val")
    assert said[0].startswith("reasoning-gym: 1 of 4 val rows after 0 s, 0 s of them for ")
    monkeypatch.setattr(generation, "_QUIET_SECONDS", 1000.0)
    draw_mixture([_task("a")], 4, "0", _make, set())
    assert len(said) == 4
