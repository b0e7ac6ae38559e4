"""A wait ends where the run was asked to stop, and nowhere else."""

from threading import Thread

import pytest

from lightning_gft.waiting import (
    RunStoppedError,
    StopPoints,
    abandonable,
    all_drawn,
    check_stop,
    check_wait,
    ending_waits,
    stopping_at,
)


def test_the_checks_of_all_contexts_count_from_the_outermost_inwards():
    calls = []
    with ending_waits(lambda: calls.append("outer")):
        with ending_waits(lambda: calls.append("inner")):
            check_wait()
        check_wait()
    check_wait()
    assert calls == ["outer", "inner", "outer"]


def test_a_check_that_raises_is_gone_after_its_context():
    def stop():
        raise SystemExit(143)

    with pytest.raises(SystemExit), ending_waits(stop):
        check_wait()
    check_wait()


def test_another_thread_is_not_ended():
    calls = []
    with ending_waits(lambda: calls.append("run")):
        other = Thread(target=check_wait)
        other.start()
        other.join()
    assert calls == []


def test_without_a_request_draws_are_finished():
    with abandonable():
        check_stop()
        check_wait()
        all_drawn()


def test_a_request_acts_within_its_context_alone():
    class Asked(StopPoints):
        def check_stop(self):
            raise RunStoppedError(143)

        check_wait = all_drawn = check_stop

    with stopping_at(Asked()):
        for check in (check_stop, check_wait, all_drawn):
            with pytest.raises(RunStoppedError):
                check()
    for check in (check_stop, check_wait, all_drawn):
        check()
