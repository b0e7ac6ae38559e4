"""A wait ends where the run was asked to stop, and nowhere else."""

from threading import Thread

import pytest

from lightning_gft.waiting import check_wait, ending_waits


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
