"""Services that fail in every way."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from lightning_gft.rewards import RewardError
from lightning_gft.rewards.http import endpoint
from tests.rewards.http.service import answer, drip, half, reset_connection, score, send, silence


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
        (answer("no such model", 404), "rejects the request: status 404, 'no such model'"),
        (answer("", 401), "rejects the request: status 401"),
        (answer("", 204), "rejects the request: status 204"),
        (
            answer("", 307, Location="http://evil.example/x"),
            "redirects to 'http://evil.example/x'; give that",
        ),
        (answer("<html>Hi</html>", Content_Type="text/html"), "answered '<html>Hi.*text/html.; expected a JSON obj"),
        (answer('{"scores": [1'), "answered .*; expected a JSON object"),
        (
            answer("[0.5, 0.5]"),
            r"answered '\[0.5, 0.5\]' \(application/json\); expected a JSON object such as {\"scores",
        ),
        (answer('{"score": [1]}'), "answered .*; expected a JSON object"),
        (answer('{"scores": 1}'), "answered .*; expected a JSON object"),
        (answer('{"scores": []}'), "answered 0 scores; expected 1, one for each response"),
        (answer('{"scores": [1, 2]}'), "answered 2 scores; expected 1, one for each response"),
        (answer('{"scores": [NaN]}'), "answered 'nan' as number 0 of 1; expected finite numbers, or null"),
        (answer('{"scores": ["1"]}'), "answered .*; expected finite numbers, or null"),
        (answer('{"scores": [true]}'), "answered .*; expected finite numbers, or null"),
        (answer('{"scores": [1e999]}'), "answered .*; expected finite numbers, or null"),
    ],
)
def test_what_is_wrong_stops_the_run_in_one_line(behaviour, message, service):
    service.behaviours = [behaviour]
    with pytest.raises(RewardError, match=f"^got no scores: the service at {service.url} {message}") as caught:
        score(service.reward(max_retries=2), "abc")
    assert "\n" not in str(caught.value)


def test_a_list_without_a_content_type(service):
    def behave(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n[0.5, 0.5]")

    service.behaviours = [behave]
    with pytest.raises(RewardError, match=r"answered '\[0.5, 0.5\]'; expected a JSON object such as {\"scores"):
        score(service.reward(), "abc", "b")


def test_one_batch_that_fails_ends_the_waits_of_the_others(service, monkeypatch):
    monkeypatch.setattr(endpoint, "_pause", lambda *_: 1e4)

    def behave(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        if body["responses"] == ["a"]:
            return send(handler, "busy", 503)
        return send(handler, "wrong", 400)

    service.behaviours = [behave]
    with pytest.raises(RewardError, match="rejects the request: status 400"):
        score(service.reward(batch_size=1, concurrency=2), "b", "a")
