"""A service that scores, and one that misbehaves: real HTTP on this machine."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from lightning_gft.checkpoint.describing import describe
from lightning_gft.rewards import HTTPReward, RewardError, as_rewards, score_responses
from lightning_gft.rewards.http import endpoint

PATIENCE = 120.0
"""Seconds for an answer, on a machine that is busy."""


class Service:
    """A server that answers each request by the next of its behaviours; the last one stays."""

    def __init__(self) -> None:
        self.behaviours: list[Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]] = [answer()]
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                service.bodies.append(body)
                service.headers.append(dict(self.headers))
                behave = service.behaviours.pop(0) if len(service.behaviours) > 1 else service.behaviours[0]
                behave(self, body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/score"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def reward(self, **options: Any) -> HTTPReward:
        return HTTPReward(self.url, **{"timeout": PATIENCE, **options})


def send(handler: BaseHTTPRequestHandler, text: str, status: int = 200, **headers: str) -> None:
    data = text.encode()
    handler.send_response(status)
    given = {"Content_Type": "application/json", "Content_Length": str(len(data)), **headers}
    for name, value in given.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(data)


def answer(text: str | None = None, status: int = 200, **headers: str) -> Callable[..., None]:
    """Return a behaviour: the length of each response as its score, or what is given."""

    def behave(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        scores = json.dumps({"scores": [len(response) for response in body["responses"]]})
        send(handler, scores if text is None else text, status, **headers)

    return behave


def reset_connection(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


def half(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
    handler.close_connection = True


def silence(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
    handler.rfile.read(1)  # until the client goes
    handler.close_connection = True


def drip(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    try:
        while True:
            handler.wfile.write(b" ")
            time.sleep(0.02)
    except OSError:
        handler.close_connection = True


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    yield service
    service.server.shutdown()
    service.server.server_close()


@pytest.fixture(autouse=True)
def waits(monkeypatch) -> list[float]:
    """Return the pauses between attempts, which last no time here."""
    waited: list[float] = []
    pause = endpoint._pause

    def none(attempt: int, asked: float) -> float:
        waited.append(pause(attempt, asked))
        return 0.0

    monkeypatch.setattr(endpoint, "_pause", none)
    return waited


def score(reward: HTTPReward, *responses: str, **columns: list[Any]) -> list[float | None]:
    count = len(responses)
    return list(reward(prompts=["p"] * count, responses=responses, references=["r"] * count, **columns))


def test_batches_are_sent_with_what_is_asked_for(service):
    reward = service.reward(columns=["level", "response_source"], batch_size=2)
    assert reward.asks() == {"response_source"}
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
    counts = reward.compute()
    assert counts.pop("seconds") > 0
    assert counts == {"requests": 2, "retries": 0}
    reward.reset()
    assert reward.compute() == {"requests": 0, "retries": 0, "seconds": 0}


def test_null_is_a_response_that_the_reward_does_not_apply_to(service):
    service.behaviours = [answer('{"scores": [null, 2, 0.5]}')]
    assert score(service.reward(), "a", "b", "c") == [None, 2, 0.5]


@pytest.mark.parametrize(
    "first",
    [
        *(
            answer("busy", 429),
            answer("oops", 500),
            answer("gateway", 502),
            answer("late", 408),
            reset_connection,
            half,
        ),
        answer("{}", Content_Encoding="gzip"),
    ],
)
def test_what_may_pass_is_tried_again(first, service, waits):
    service.behaviours = [first, first, answer()]
    reward = service.reward()
    assert score(reward, "abc") == [3]
    assert (reward.compute()["requests"], reward.compute()["retries"]) == (3, 2)
    assert 0.25 <= waits[0] <= 0.5 <= waits[1] <= 1


def test_a_server_may_say_how_long_to_wait(service, waits):
    service.behaviours = [answer("", 429, Retry_After="17"), answer("", 503, Retry_After="99999"), answer()]
    assert score(service.reward(), "abc") == [3]
    assert waits == [17, 600]


@pytest.mark.parametrize("behaviour", [silence, drip])
def test_an_answer_that_takes_too_long(behaviour, service):
    service.behaviours = [behaviour]
    reward = service.reward(timeout=0.3, max_retries=1)
    with pytest.raises(RewardError, match=r"/score failed 2 times, at last: no answer within timeout=0.3 s"):
        score(reward, "abc")


def test_a_service_that_is_not_there(service):
    service.server.shutdown()
    service.server.server_close()
    with pytest.raises(RewardError, match=rf"the service at {service.url} failed 3 times, at last: ConnectError"):
        score(service.reward(max_retries=2), "abc")


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        (answer("overloaded", 500), "failed 3 times, at last: status 500, 'overloaded'"),
        (answer("no such model", 404), "refuses the request: status 404, 'no such model'"),
        (answer("", 401), "refuses the request: status 401"),
        (answer("", 204), "refuses the request: status 204"),
        (answer("", 307, Location="http://evil.example/x"), "redirects to 'http://evil.example/x'; give that address"),
        (answer("<html>Hi</html>", Content_Type="text/html"), "must answer JSON such as .*, got text/html: '<html>Hi"),
        (answer('{"scores": [1'), "must answer JSON"),
        (answer("[1]"), "must answer JSON"),
        (answer('{"score": [1]}'), "must answer JSON"),
        (answer('{"scores": 1}'), "must answer JSON"),
        (answer('{"scores": []}'), "must answer 1 scores, got 0"),
        (answer('{"scores": [1, 2]}'), "must answer 1 scores, got 2"),
        (answer('{"scores": [NaN]}'), "must answer finite numbers or null, got 'nan' as number 0 of 1"),
        (answer('{"scores": ["1"]}'), "must answer finite numbers or null"),
        (answer('{"scores": [true]}'), "must answer finite numbers or null"),
        (answer('{"scores": [1e999]}'), "must answer finite numbers or null"),
    ],
)
def test_what_is_wrong_stops_the_run_in_one_line(behaviour, message, service):
    service.behaviours = [behaviour]
    with pytest.raises(RewardError, match=f"^`url`: the service at {service.url} {message}") as caught:
        score(service.reward(max_retries=2), "abc")
    assert "\n" not in str(caught.value)


def test_one_batch_that_fails_ends_the_waits_of_the_others(service, monkeypatch):
    monkeypatch.setattr(endpoint, "_pause", lambda *_: 1e4)

    def behave(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        if body["responses"] == ["a"]:
            return send(handler, "busy", 503)
        return send(handler, "wrong", 400)

    service.behaviours = [behave]
    with pytest.raises(RewardError, match="refuses the request: status 400"):
        score(service.reward(batch_size=1, concurrency=2), "b", "a")


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


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x/y", "http://", "", None, 5, "http://user:secret@host/x"])
def test_what_is_no_address(url):
    with pytest.raises(ValueError, match="`url`: expected an address") as caught:
        HTTPReward(url)
    assert "secret" not in str(caught.value)


def test_rows_that_cannot_be_sent_are_refused_before_training(service):
    reward = service.reward(columns=["level"])
    reward.check_row("r", {"level": 3})
    with pytest.raises(ValueError, match=r"`columns`: expected columns of the data \(other\), got 'level'"):
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
