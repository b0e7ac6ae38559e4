"""A clock of phases: self time, other threads, runs that end early."""

from __future__ import annotations

import random
from threading import Thread

import pytest

from lightning_gft.phases import PHASES, Phase, PhaseClock, Span, phase


class Time:
    """A time that tests move."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def clock(time):
    clock = PhaseClock(now=time)
    with clock.running():
        yield clock


def spent(clock: PhaseClock) -> dict[Phase, float]:
    return {name: seconds for name, seconds in clock.read().items() if seconds}


def test_a_phase_within_another_counts_once(clock, time):
    with phase("rollout"):
        time.now += 1
        with phase("teacher"):
            time.now += 2
            with phase("collective"):
                time.now += 4
            time.now += 8
        time.now += 16
    time.now += 32  # between two phases
    assert spent(clock) == {"rollout": 17, "teacher": 10, "collective": 4}


def test_seconds_of_phases_are_those_of_a_slow_count(clock, time):
    """Each second goes to the innermost phase; random trees of phases against a count of second by second."""
    random.seed(0)
    expected = dict.fromkeys(PHASES, 0.0)

    def run(depth: int, names: tuple[Phase, ...]) -> None:
        for _ in range(random.randrange(1, 4)):
            for _ in range(random.randrange(4)):
                time.now += 1
                if names:
                    expected["validation" if "validation" in names[:1] else names[-1]] += 1
            if depth:
                name = random.choice(PHASES if not names else [n for n in PHASES if n != "validation"])
                with phase(name):
                    run(depth - 1, (*names, name))

    for _ in range(50):
        run(4, ())
        assert clock.read() == expected
    assert all(expected.values())


def test_all_of_a_validation_is_one_phase(clock, time):
    clock.enter("validation")
    with phase("rollout"):
        time.now += 1
        assert clock.current() == ("validation", 1)
    clock.leave()
    assert spent(clock) == {"validation": 1}
    assert clock.current() == (None, 0)


def test_the_innermost_phase_is_told_with_the_seconds_since_its_begin(clock, time):
    with phase("rollout"):
        time.now += 5
        with phase("teacher"):
            time.now += 2
            assert clock.current() == ("teacher", 2)
            assert spent(clock) == {"rollout": 5, "teacher": 2}
        assert clock.current() == ("rollout", 7)


def test_a_phase_that_raises_ends(clock, time):
    def score() -> None:
        with phase("update"), phase("reward") as scoring:
            spans.append(scoring)
            time.now += 3
            raise RuntimeError("of the reward")

    spans: list[Span] = []
    with pytest.raises(RuntimeError, match="of the reward"):
        score()
    assert clock.current() == (None, 0)
    assert spent(clock) == {"reward": 3}
    assert spans[0].seconds > 0


def test_a_clock_that_stops_ends_its_phases(time):
    outer, inner = PhaseClock(now=time), PhaseClock(now=time)
    with outer.running(), phase("update"):
        before = inner.start()
        inner.enter("validation")  # which no hook will end
        time.now += 1
        inner.stop(before)
        assert inner.current() == (None, 0)
        time.now += 1
    assert spent(inner) == {"validation": 1}
    assert spent(outer) == {"update": 2}


def test_without_a_run_a_phase_is_but_timed():
    clock = PhaseClock()
    with phase("reward") as scoring:
        pass
    assert scoring.seconds > 0
    assert not any(clock.read().values())


def test_a_decorated_function_is_in_its_phase_at_each_call(clock, time):
    @phase("collective")
    def reduce() -> Phase | None:
        time.now += 1
        return clock.current()[0]

    assert [reduce(), reduce()] == ["collective", "collective"]
    assert spent(clock) == {"collective": 2}


def test_a_thread_without_the_run_moves_no_clock(clock):
    def elsewhere() -> None:
        with phase("reward"):
            seen.append(clock.current()[0])

    seen: list[Phase | None] = []
    with phase("rollout"):
        thread = Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert seen == ["rollout"]
