"""Rewards that misbehave: what they do to their inputs and to the process does not outlive the call."""

import os
import random
import signal
import sys
import warnings
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from lightning_gft.rewards import ExactMatchReward, FunctionReward, RewardError, score_responses

BATCH = {"prompts": ["p0", "p1"], "responses": ["r0", "r1"], "references": ["r0", {"a": ["r1"]}]}


def score(function, **others):
    rewards = {"bad": FunctionReward(function), **others}
    return score_responses(rewards, **BATCH, columns={"tests": [[{"in": [1]}], [{"in": [2]}]]})[1]


def test_inputs_are_copies_down_to_the_last_entry():
    def ruins(responses, references, tests):
        responses.clear()
        references[1]["a"].clear()
        tests[0][0]["in"].append(3)
        tests.pop()
        return [1.0, 1.0]

    def sees(responses, references, tests):
        assert (responses, references) == (BATCH["responses"], [("r0"), {"a": ["r1"]}])
        return [float(test[0]["in"][0] * len(test[0]["in"])) for test in tests]

    assert score(ruins, sees=FunctionReward(sees))["sees"].tolist() == [1.0, 2.0]
    assert BATCH["references"][1] == {"a": ["r1"]}


def test_the_shape_is_compared_with_what_was_given():
    def shrinks(responses):
        responses.pop()
        return [1.0, 1.0]

    assert score(shrinks)["bad"].tolist() == [1.0, 1.0]


CHANGES = {
    "the gradient mode": lambda: torch.set_grad_enabled(False),
    "torch's default dtype": lambda: torch.set_default_dtype(torch.float64),
    "torch's default device": lambda: torch.set_default_device("meta"),
    "the working directory": lambda: os.chdir("/"),
    "sys.stdout": lambda: setattr(sys, "stdout", sys.stderr),
}


def state():
    return (
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
        torch.get_default_device(),
        os.getcwd(),  # noqa: PTH109
        sys.stdout,
    )


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("name", CHANGES)
def test_what_is_changed_for_the_whole_process_is_put_back_and_told(name, raises):
    def changes(responses):
        CHANGES[name]()
        if raises:
            raise KeyError("after the change")
        return [1.0, 1.0]

    before = state()
    ends = pytest.raises(RewardError, match="after the change") if raises else nullcontext()
    with pytest.warns(UserWarning, match=f"reward 'bad' .* changed {name} for the whole process.*restored"), ends:
        score(changes)
    assert state() == before


def test_the_runs_own_signal_handling_stays_and_is_no_fault_of_the_reward():
    def handler(number, frame):
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            score(lambda responses: os.kill(os.getpid(), signal.SIGUSR1) or [1.0, 1.0])
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_environment_variables_are_told_by_name_alone(monkeypatch):
    monkeypatch.setenv("A_KEY", "old")

    def changes(responses):
        os.environ["A_KEY"] = "secret"
        return [1.0, 1.0]

    with pytest.warns(UserWarning, match=r"changed environment variables .*: A_KEY$"):
        score(changes)


def test_chance_in_a_reward_follows_from_the_responses_and_leaves_the_runs_alone():
    def draws(responses):
        torch.manual_seed(5 if responses[0] == "seeds" else torch.initial_seed())
        return [random.random() + np.random.rand(), torch.rand(1).item()]

    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = random.random(), np.random.rand(), torch.rand(1).item()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, second = score(draws)["bad"], score(draws)["bad"]
    assert first.tolist() == second.tolist()
    assert torch.initial_seed() == 1
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == expected


class Stop(BaseException):
    pass


@pytest.mark.parametrize("error", [SystemExit(0), SystemExit("bye"), Stop("now"), GeneratorExit()])
def test_leaving_is_a_failure_of_the_reward(error):
    def leaves(responses):
        raise error

    with pytest.raises(RewardError, match=rf"'bad' .* raised {type(error).__name__} in leaves"):
        score(leaves)


def test_a_signal_that_ends_the_run_is_not_the_rewards_failure():
    def ends(number, frame):
        raise SystemExit(143)

    before = signal.signal(signal.SIGTERM, ends)
    try:
        with pytest.raises(SystemExit) as stop:
            score(lambda responses: os.kill(os.getpid(), signal.SIGTERM) or [1.0, 1.0])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert stop.value.code == 143


def test_a_forked_process_does_not_come_back_from_a_reward(capfd):
    children = []

    def forks(responses):
        child = os.fork()
        children.append(child)
        return [1.0, 1.0]

    here = os.getpid()
    assert score(forks)["bad"].tolist() == [1.0, 1.0]
    assert os.getpid() == here
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 1
    assert "forked a process that returned from it" in capfd.readouterr().err


class UnspeakableError(ValueError):
    def __str__(self):
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "shown"), [(ValueError("a" * 5_000_000), "aaa"), (UnspeakableError(), "cannot be shown")]
)
def test_the_text_of_an_error_is_shortened(error, shown):
    def fails(responses):
        raise error

    with pytest.raises(RewardError, match=shown) as told:
        score(fails)
    assert len(str(told.value)) < 2000


def test_where_a_reward_does_not_apply_the_others_count():
    rewards = {"code": FunctionReward(lambda responses: [None, 1.0], weight=2.0), "exact": ExactMatchReward()}
    batch = {**BATCH, "references": ["r0", "x"]}
    total, parts = score_responses(rewards, **batch, columns={})
    assert total.tolist() == [1.0, 2.0]
    assert parts["code"].isnan().tolist() == [True, False]
    assert parts["exact"].tolist() == [1.0, 0.0]


@pytest.mark.parametrize("weight", [1.0, 0.0])
def test_a_response_to_which_no_reward_applies_is_shown(weight):
    rewards = {"code": FunctionReward(lambda responses: [1.0, None]), "brief": FunctionReward(lambda responses: [1, 1])}
    rewards["brief"].weight = 0.0
    if weight:
        del rewards["brief"]
    with pytest.raises(
        RewardError,
        match=r"that applies to each response, got None or no weight from code.*prompt: 'p1', response: 'r1'",
    ) as told:
        score_responses(rewards, **BATCH, columns={})
    assert "\n" not in str(told.value)


def test_nan_is_not_none():
    with pytest.raises(RewardError, match="returned nan for response 1 of 2"):
        score(lambda responses: [None, float("nan")])
