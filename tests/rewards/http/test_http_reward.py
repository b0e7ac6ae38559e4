"""What is sent to a service, and what it gives."""

from __future__ import annotations

import asyncio
import os
import pickle
import threading
import warnings
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from lightning_gft.checkpoint.describing import describe
from lightning_gft.rewards import HTTPReward, RewardError, as_rewards, score_responses
from tests.rewards.http.service import PATIENCE, answer, score


def test_batches_are_sent_with_what_is_asked_for(service):
    reward = service.reward(columns=["level", "response_source"], batch_size=2)
    assert reward.needs() == {"response_source"}
    described = describe(reward)
    columns = {"level": [1, None, {"a": [2]}], "other": ["x"] * 3, "response_source": ["self"] * 3}
    assert score(reward, "a", "", "écc\n", **columns) == [1, 0, 4]
    bodies = sorted(service.bodies, key=lambda body: body["responses"])
    assert bodies[0] == {
        "prompts": ["p", "p"],
        "responses": ["a", ""],
        "references": ["r", "r"],
        "columns": {"level": [1, None], "response_source": ["self", "self"]},
    }
    assert bodies[1]["responses"] == ["écc\n"]
    assert describe(reward) == described, "what it counts is no setting"
    counts = reward.compute()
    assert counts.pop("seconds") > 0
    assert counts == {"requests": 2, "retries": 0}
    reward.reset()
    assert reward.compute() == {"requests": 0, "retries": 0, "seconds": 0}


def test_null_is_a_response_that_the_reward_does_not_apply_to(service):
    service.behaviours = [answer('{"scores": [null, 2, 0.5]}')]
    assert score(service.reward(), "a", "b", "c") == [None, 2, 0.5]


def test_the_key_is_sent_and_seen_nowhere_else(service, monkeypatch, caplog, capfd):
    caplog.set_level("DEBUG")  # at which the client shows what it receives, but not the headers that it sends
    monkeypatch.setenv("JUDGE_KEY", "sk-very-secret")
    reward = service.reward(api_key_env="JUDGE_KEY", max_retries=0)
    assert score(reward, "abc") == [3]
    assert service.headers[0]["Authorization"] == "Bearer sk-very-secret"
    caplog.set_level("INFO")
    service.behaviours = [
        answer("you are sk-very-secret", 500),
        answer("x" * 90 + " sk-very-secret " + "y" * 200, 400),
        answer('{"scores": ["sk-very-secret"]}'),
        answer("", 302, Location="http://x.example/?key=sk-very-secret"),
    ]
    seen = [
        repr(reward),
        describe(reward),
        str(vars(reward)),
        repr(reward._endpoint),
        pickle.dumps(reward).decode("latin"),
    ]
    for _ in range(4):
        with pytest.raises(RewardError) as caught:
            score(reward, "abc")
        seen.append(str(caught.value) + repr(caught.value.__cause__))
    captured = capfd.readouterr()
    assert not [text for text in (*seen, caplog.text, captured.out, captured.err) if "secret" in text]


def test_a_key_that_is_not_set_or_no_key(service, monkeypatch):
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    with pytest.raises(
        RewardError, match=r"`api_key_env`: expected an environment variable.*'JUDGE_KEY', which is not"
    ):
        service.reward(api_key_env="JUDGE_KEY").setup()
    monkeypatch.setenv("JUDGE_KEY", "sk\nsecret")
    with pytest.raises(RewardError, match="which holds characters that no header may") as caught:
        service.reward(api_key_env="JUDGE_KEY").setup()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("pasted", ["sk-hidden", "hf_hidden", "9HIDDEN", "A HIDDEN", "", "HIDDEN\n", 5])
def test_a_key_in_the_place_of_its_variable_is_not_shown(pasted):
    with pytest.raises(ValueError, match="`api_key_env` of HTTPReward: expected the name of an environment") as caught:
        HTTPReward("http://localhost:1", api_key_env=pasted)
    assert "hidden" not in str(caught.value).lower()


def test_a_variable_in_small_letters_is_one_where_it_is_set(service, monkeypatch):
    monkeypatch.setenv("judge_key", "sk-very-secret")
    assert score(service.reward(api_key_env="judge_key"), "abc") == [3]
    assert service.headers[0]["Authorization"] == "Bearer sk-very-secret"


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x/y", "http://", "", None, 5, "http://user:secret@host/x"])
def test_what_is_no_address(url):
    with pytest.raises(ValueError, match="`url`: expected an address") as caught:
        HTTPReward(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("query", ["key=hidden", "a=1&api_key=hidden", "access_token=hidden", "sig=hidden"])
def test_a_key_in_the_query_is_warned_of_without_being_shown(query):
    with pytest.warns(UserWarning, match="`url` of HTTPReward: its query holds .*api_key_env") as caught:
        HTTPReward(f"http://localhost:1/score?{query}")
    assert "hidden" not in str(caught[0].message)


def test_another_query_is_not_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        HTTPReward("http://localhost:1/score?model=judge&signal=1")


def test_a_column_that_a_call_is_not_given(service):
    with pytest.raises(ValueError, match="`columns`: expected a column of the data, got 'nope', and no columns are"):
        score(service.reward(columns=["nope"]), "a")
    assert not service.bodies


def test_rows_that_cannot_be_sent_are_refused_before_training(service):
    reward = service.reward(columns=["level"])
    reward.check_row("r", {"level": 3})
    with pytest.raises(ValueError, match=r"`columns`: expected a column of the data \(other\), got 'level'"):
        reward.check_row("r", {"other": 3})
    for unfit in (float("nan"), b"x", {1, 2}):
        with pytest.raises(ValueError, match="expected references and columns that JSON can hold"):
            reward.check_row("r", {"level": unfit})
    assert not service.bodies


def test_it_works_in_a_running_event_loop_and_from_any_thread(service):
    async def within_a_notebook() -> list[float | None]:
        return score(service.reward(batch_size=1), "a", "bb", "ccc")

    assert asyncio.run(within_a_notebook()) == [1, 2, 3]
    found: list[Any] = []
    reward = service.reward(batch_size=1)
    threads = [threading.Thread(target=lambda: found.append(score(reward, "a", "bb"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[1, 2]] * 4


def test_requests_are_made_at_once(service):
    together = threading.Barrier(3, timeout=PATIENCE)

    def wait(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        together.wait()
        answer()(handler, body)

    service.behaviours = [wait]
    assert score(service.reward(batch_size=1, concurrency=3), "a", "bb", "ccc") == [1, 2, 3]


def test_it_travels_is_closed_and_begins_anew(service):
    reward = service.reward()
    reward.setup()
    again = pickle.loads(pickle.dumps(reward))  # noqa: S301
    assert score(again, "abc") == [3]
    reward.close()
    reward.close()
    assert score(reward, "abc") == [3]


def test_a_process_that_was_forked_has_connections_of_its_own(service):
    reward = service.reward()
    assert score(reward, "abc") == [3]
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writing, str(reward._endpoint._client is not None).encode())
        reward.setup()
        os.write(writing, str(reward._endpoint._owner == os.getpid()).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 100) == b"TrueTrue"
    os.close(reading)
    os.close(writing)


def test_in_the_sum_with_other_rewards(service):
    service.behaviours = [answer('{"scores": [null, 0.5]}')]
    rewards = {"judge": service.reward(weight=2.0), "always": lambda responses: [1.0] * len(responses)}
    total, _ = score_responses(
        as_rewards(rewards), prompts=["p"] * 2, responses=["a", "b"], references=[None] * 2, columns={}
    )
    assert total.tolist() == [1, 2]
