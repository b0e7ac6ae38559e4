"""A limit of time for any reward, kept by a process of its own."""

import os
import pickle
import re
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from lightning_gft.rewards import (
    FormatReward,
    FunctionReward,
    Reward,
    RewardError,
    TimeLimitedReward,
    score_responses,
)
from tests.rewards.attacks import attacks_all
from tests.rewards.processes import alive


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
    [("hangs", 1.5, r"took longer than 1\.5 s"), ("exits", 600, "ended its process.*status")],
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


def pid_of(reward):
    (worker,) = reward._pool._workers
    return worker.pid


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
            time.sleep(900)
        return [0.0] * len(responses)

    def compute(self):
        return {"seen": self.count, "mean": torch.tensor(0.5)}

    def reset(self):
        self.count = 0

    def close(self):
        Path(self.notes).write_text(f"closed after {self.count}")


def test_the_reward_within_lives_and_reports_in_its_process(tmp_path):
    reward = TimeLimitedReward(Counts(str(tmp_path / "notes")), seconds=600)
    failures = {"timeouts": 0, "memory": 0, "crashes": 0, "errors": 0}
    assert reward.compute() == {"calls": 0, "seconds": 0.0, **failures}  # nothing is started to ask
    reward.setup()
    score(reward, "a", "b"), score(reward, "c")
    figures = reward.compute()
    assert (figures["calls"], figures["timeouts"], figures["seen"], figures["mean"].item()) == (2, 0, 3, 0.5)
    assert (reward._failures.failed, reward._failures.judged) == (0, 3)
    assert 0 < figures["seconds"] < 600
    reward.reset()
    assert (reward.compute()["calls"], reward.compute()["seen"]) == (0, 0)
    score(reward, "d")
    reward.seconds = 0.2
    with pytest.raises(RewardError, match=r"took longer than 0\.2 s"):
        reward(prompts=["p"], responses=["hangs"], references=[None])
    reward.seconds = 600
    assert reward.compute().items() >= {"calls": 2, "timeouts": 1}.items()
    score(reward, "e")
    pid = pid_of(reward)
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
    pid = pid_of(reward)
    with pytest.raises(RewardError, match=r"close took longer than 0\.2 s, and its process was killed"):
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
    with pytest.warns(UserWarning, match="`pattern`: expected no special token"):
        TimeLimitedReward(FormatReward("<think>"), seconds=1).check_tokens(["<think>"])


def test_what_cannot_leave_this_process_is_named():
    lock = threading.Lock()
    generator = (n for n in range(3))
    reward = TimeLimitedReward(FunctionReward(lambda responses: [next(generator), lock]), seconds=1)
    with pytest.raises(RewardError, match="cannot be sent to another process"):
        score(reward, "a")


def test_with_a_score_for_failures_only_the_responses_that_fail_have_it():
    reward = TimeLimitedReward(attacks_all, seconds=600, failed_score=-1, memory_mb=512)
    try:
        with pytest.warns(UserWarning, match="failed_score=-1") as warned:
            assert score(reward, "a", "exits", "b", "takes", "exits", "c") == [3, -1, 3, -1, -1, 3]
        assert score(reward, "exits") == [-1]
        texts = [str(warning.message) for warning in warned]
        assert len(texts) == 2, "the first of each kind"
        assert re.search(r"exit status 3.* counted as crashes. response: 'exits'", texts[0])
        assert re.search(r"needed more than 512 MiB of memory.* response: 'takes'", texts[1])
        reward.seconds = 0.5
        late = r"TimeLimitedReward took longer than 0\.5 s.*failed_score=-1.*response: 'hangs_in_c'"
        with pytest.warns(UserWarning, match=late):
            assert score(reward, "hangs_in_c") == [-1]
        reward.seconds = 600
        figures = {"calls": 3, "timeouts": 1, "crashes": 3, "memory": 1, "errors": 0}
        assert reward.compute().items() >= figures.items()
        with pytest.raises(RewardError, match=r"(?s)raised KeyError in raises.*response: 'raises'"):
            score(reward, "a", "raises", "exits")
    finally:
        reward.close()


def hangs_on_several(responses):
    time.sleep(600 if len(responses) > 1 else 0)
    return [1.0] * len(responses)


@pytest.mark.slow
def test_a_batch_that_is_too_much_together_stops_the_run():
    reward = TimeLimitedReward(hangs_on_several, seconds=5, failed_score=0)
    try:
        with pytest.raises(RewardError, match="took longer than 5 s"):
            reward(prompts=["p"] * 4, responses=["r"] * 4, references=[None] * 4)
    finally:
        reward.close()
