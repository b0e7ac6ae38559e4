"""A limit of time for any reward, kept by a process of its own."""

import importlib
import os
import pickle
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
import torch

from lightning_gft import rewards
from lightning_gft.rewards import (
    FormatReward,
    FunctionReward,
    Reward,
    RewardError,
    TimeLimitedReward,
    score_responses,
)
from lightning_gft.rewards.workers import Worker


def behaves(responses, level=None):
    if "exits" in responses:
        os._exit(3)
    if "stops" in responses:
        sys.exit(0)
    if "fails" in responses:
        raise KeyError("boom")
    if "hangs" in responses:
        re.match("(a+)+b", "a" * 40)
    print("x" * 100_000)
    return [None if r == "none" else float(os.getpid() if r == "pid" else len(r)) for r in responses]


def score(reward, *responses, columns=None):
    count = len(responses)
    return score_responses(
        {"slow": reward, "one": FunctionReward(lambda responses: [0.0] * len(responses))},
        prompts=["p"] * count,
        responses=list(responses),
        references=[None] * count,
        columns=columns or {},
    )[1]["slow"].tolist()


@pytest.fixture(scope="module")
def limited():
    reward = TimeLimitedReward(FunctionReward(behaves, weight=0.5, special_tokens=True), seconds=600)
    yield reward
    reward.close()


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_a_reward_within_limits_is_scored_as_ever_in_one_process(limited):
    assert (limited.weight, limited.special_tokens) == (0.5, True)
    first = score(limited, "pid", "abc")
    assert first[1] == 3.0
    assert first[0] != os.getpid()
    results = []
    threads = [threading.Thread(target=lambda: results.append(score(limited, "pid"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[first[0]]] * 4
    assert torch.tensor(score(limited, "none", "ab")).isnan().tolist() == [True, False]


@pytest.mark.parametrize(
    ("response", "message"),
    [("fails", "raised KeyError in behaves, .*boom"), ("stops", "raised SystemExit in behaves")],
)
def test_a_failure_reads_as_it_would_here(limited, response, message):
    with pytest.raises(RewardError, match=rf"(?s)reward 'slow' \(TimeLimitedReward\) {message}.*index 1.*'{response}'"):
        score(limited, "a", response)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("response", "seconds", "message"),
    [("hangs", 1.5, r"took longer than seconds=1\.5"), ("exits", 600, "ended its process.*status")],
)
def test_a_hang_or_a_crash_costs_a_process_and_shows_the_response(limited, monkeypatch, response, seconds, message):
    (pid,) = score(limited, "pid")
    monkeypatch.setattr(limited, "seconds", seconds)
    with pytest.raises(RewardError, match=rf"(?s){message}.*index 0.*response: '{response}'"):
        score(limited, response)
    assert not alive(int(pid))
    monkeypatch.undo()
    (other,) = score(limited, "pid")
    assert other != pid


class Counts(Reward):
    """Counts its calls in the process in which it runs, and notes its end."""

    def __init__(self, notes):
        super().__init__()
        self.notes, self.count = notes, None

    def setup(self):
        self.count = 0

    def __call__(self, *, prompts, responses, references, **columns):
        self.count += len(responses)
        if "hangs" in responses:
            time.sleep(60)
        return [0.0] * len(responses)

    def compute(self):
        return {"seen": self.count, "mean": torch.tensor(0.5)}

    def reset(self):
        self.count = 0

    def close(self):
        Path(self.notes).write_text(f"closed after {self.count}")


def test_the_reward_within_lives_and_reports_in_its_process(tmp_path):
    reward = TimeLimitedReward(Counts(str(tmp_path / "notes")), seconds=20)
    assert reward.compute() == {"calls": 0, "seconds": 0.0, "timeouts": 0}  # nothing is started to ask
    reward.setup()
    score(reward, "a", "b"), score(reward, "c")
    figures = reward.compute()
    assert (figures["calls"], figures["timeouts"], figures["seen"], figures["mean"].item()) == (2, 0, 3, 0.5)
    assert 0 < figures["seconds"] < 20
    reward.reset()
    assert (reward.compute()["calls"], reward.compute()["seen"]) == (0, 0)
    score(reward, "d")
    reward.seconds = 0.2
    with pytest.raises(RewardError, match=r"took longer than seconds=0\.2"):
        reward(prompts=["p"], responses=["hangs"], references=[None])
    assert reward.compute().items() >= {"calls": 2, "timeouts": 1}.items()
    reward.seconds = 20
    score(reward, "e")
    pid = reward._worker.process.pid
    reward.close()
    assert (tmp_path / "notes").read_text() == "closed after 1"
    assert not alive(pid)
    reward.close()  # nothing is left to close


class Lingers(Counts):
    """Hangs when it is closed."""

    def close(self):
        time.sleep(60)


def test_a_reward_that_hangs_when_it_is_closed_is_killed(tmp_path):
    reward = TimeLimitedReward(Lingers(str(tmp_path / "notes")), seconds=0.2)
    reward.setup()
    pid = reward._worker.process.pid
    with pytest.raises(RewardError, match=r"took longer than seconds=0\.2 for close, and its process was killed"):
        reward.close()
    assert not alive(pid)


def test_it_is_configured_around_another_and_pickles(limited):
    copy = pickle.loads(pickle.dumps(limited))  # noqa: S301
    assert (copy.seconds, copy.reward.weight) == (600, 0.5)
    with pytest.raises(ValueError, match="`seconds` of TimeLimitedReward: expected a number above 0, got 0"):
        TimeLimitedReward(FormatReward("a"), seconds=0)
    assert isinstance(TimeLimitedReward(behaves, seconds=1).reward, FunctionReward)
    with pytest.raises(TypeError, match="`reward`: expected a Reward, got 3"):
        TimeLimitedReward(3, seconds=1)
    with pytest.warns(UserWarning, match="`pattern`: .* names"):
        TimeLimitedReward(FormatReward("<think>"), seconds=1).check_tokens(["<think>"])


def test_what_cannot_leave_this_process_is_named():
    lock = threading.Lock()
    generator = (n for n in range(3))
    reward = TimeLimitedReward(FunctionReward(lambda responses: [next(generator), lock]), seconds=1)
    with pytest.raises(RewardError, match="cannot be sent to a process of its own"):
        score(reward, "a")


@pytest.fixture
def worker(limited):
    score(limited, "a")
    return limited._worker


def test_the_limit_covers_sending_to_a_process_that_reads_nothing(worker):
    os.kill(worker.process.pid, signal.SIGSTOP)
    with pytest.raises(TimeoutError):
        worker.ask("score", {"responses": ["x" * 3_000_000]}, 0.5)
    assert not worker.listens
    assert worker.process.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_an_interrupt_while_sending_ends_the_process(worker, monkeypatch):
    def interrupt(number, frame):
        raise KeyboardInterrupt

    os.kill(worker.process.pid, signal.SIGSTOP)
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(KeyboardInterrupt):
            worker.ask("score", {"responses": ["x" * 3_000_000]}, 600)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not worker.listens


def test_a_process_that_does_not_start_is_no_slow_call(monkeypatch):
    monkeypatch.setattr("lightning_gft.rewards.workers._START_SECONDS", 0.01)
    with pytest.raises(RewardError, match=r"did not start: its process took longer than 0\.01 s"):
        Worker(FormatReward("a"))


def test_without_fcntl_the_module_imports_and_a_worker_says_what_it_lacks(monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.delitem(sys.modules, "lightning_gft.rewards.workers")
    monkeypatch.setattr(rewards, "workers", None)  # which the import sets, and which is put back
    fresh = importlib.import_module("lightning_gft.rewards.workers")
    limited = fresh.TimeLimitedReward(FormatReward("a"), seconds=1)
    with pytest.raises(RewardError, match="`TimeLimitedReward`: expected Linux or macOS"):
        limited(prompts=["p"], responses=["a"], references=[None])


@pytest.mark.slow
def test_a_worker_ends_with_its_parent_even_where_it_hangs(tmp_path):
    script = tmp_path / "main.py"
    script.write_text(  # the main script has no guard, and is not run a second time
        textwrap.dedent("""
            import os, re
            from lightning_gft.rewards import FunctionReward, TimeLimitedReward

            def hangs(responses):
                print(os.getpid(), flush=True)
                re.match("(a+)+b", "a" * 60)

            TimeLimitedReward(FunctionReward(hangs), 600)(prompts=["p"], responses=["r"], references=[None])
        """)
    )
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        worker = int(parent.stdout.readline())
        assert alive(worker)
        parent.send_signal(signal.SIGKILL)
    for _ in range(6000):  # as only a worker that stays would need
        if not alive(worker):
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker outlived its parent")
