"""Servers that are gone, slow or wrong: retried as said, then one clear error, with finished work on disk."""

from __future__ import annotations

import logging
import pickle
import re
import socket
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lightning_gft.errors import GFTRuntimeError
from lightning_gft.sources.endpoint.telling import Teller
from tests.forking import HANG
from tests.sources.endpoint.cases import POLICY, batch, source_of, texts
from tests.sources.endpoint.servers import (
    Answer,
    completion,
    fails,
    hangs_up,
    in_turn,
    says,
    serving,
    trickles,
)

STOPPED = threading.Event()


def raw(content: bytes, kind: str = "application/json") -> Answer:
    return lambda handler, body, number: handler.send(content, kind=kind)


def slow(handler: Any, body: Any, number: int) -> None:
    STOPPED.wait(30)


PASSING = {
    "429": fails(429),
    "429 with the time to wait": fails(429, Retry_After="0.05"),
    "408": fails(408),
    "409": fails(409),
    "500": fails(500),
    "503": fails(503, Retry_After="0.05"),
    "gone in the middle": hangs_up,
    "cut JSON": raw(b'{"choices": [{"message"'),
    "a page": raw(b"<html>Bad gateway</html>", "text/html"),
    "no choice": raw(b'{"choices": []}'),
    "an error as if it were a reply": raw(b'{"error": {"message": "overloaded"}}'),
}


@pytest.mark.parametrize("first", PASSING)
def test_what_may_pass_is_retried(first: str, tmp_path: Path):
    with serving(in_turn(PASSING[first], says("2"))) as server:
        source = source_of(server, tmp_path)
        assert texts(source, "1+1=") == [["2"]]
        figures = source.compute()
        source.close()
    assert (figures["requests"], figures["retries"], len(server.asked)) == (2, 1, 2)
    assert server.asked[0] == server.asked[1]


@pytest.mark.parametrize(
    "answers",
    [[fails(500, Retry_After="0.05"), fails(500), raw(b"[]"), fails(500)], [raw(b""), fails(429), raw(b"{}")]],
)
def test_a_question_is_sent_once_and_max_retries_times_at_most(answers: list[Answer], tmp_path: Path):
    with serving(in_turn(*answers)) as server:
        source = source_of(server, tmp_path, max_retries=2)
        with pytest.raises(GFTRuntimeError, match="with max_retries=2"):
            texts(source, "1+1=")
        assert len(server.asked) == 3
        figures = source.compute()
        assert (figures["requests"], figures["retries"]) == (3, 2)
        source.close()


def test_failures_and_waits_are_told_at_growing_intervals(tmp_path: Path, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    now = [1000.0]
    monkeypatch.setattr("lightning_gft.sources.endpoint.telling.time.monotonic", lambda: now[0])
    teller = Teller("http://host/v1", max_retries=8)
    for second in range(100):
        now[0] = 1000.0 + second
        teller.failed("status 500")
        teller.waiting(1000.0, 3)
    told = [line.removeprefix("EndpointSource: http://host/v1: ") for line in caplog.messages]
    assert [line[:10] for line in told] == ["status 500"] * 4  # after 0, 10, 30 and 70 seconds
    teller = Teller("http://host/v1", max_retries=8)
    now[0] = 1009.0
    teller.waiting(1000.0, 3)
    now[0] = 1010.0
    teller.waiting(1000.0, 3)
    assert caplog.messages[4:] == ["EndpointSource: http://host/v1: waiting for 3 replies, for 10 s now"]


def test_the_first_failure_of_a_run_and_a_long_wait_are_told(tmp_path: Path, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    later = [0.0]
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + later[0])
    monkeypatch.setattr("lightning_gft.sources.endpoint.telling.time", clock)
    monkeypatch.setattr("lightning_gft.sources.endpoint.asker._POLL_SECONDS", 0.05)

    def answer(handler: Any, body: Any, number: int) -> None:
        later[0] = 60.0
        deadline = time.monotonic() + HANG
        while "waiting for 1 replies" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.01)
        says("2")(handler, body, number)

    with serving(in_turn(fails(503, Retry_After="0.05"), answer)) as server:
        source = source_of(server, tmp_path)
        texts(source, "1+1=")
        source.close()
    first, second, *_ = [line for line in caplog.messages if line.startswith("EndpointSource")]
    assert first == (
        f"EndpointSource: {server.url}: status 503, Retry-After: 0.05; failed requests are sent again, up to "
        "max_retries=1 times each"
    )
    assert re.fullmatch(
        rf"EndpointSource: {server.url}: waiting for 1 replies, for \d+ s now; last failure: status 503.*", second
    )


def test_a_request_that_takes_too_long_is_given_up_and_sent_again(tmp_path: Path):
    with serving(in_turn(slow, trickles(STOPPED), says("2"))) as server:
        source = source_of(server, tmp_path, timeout=0.5, max_retries=50)  # a busy machine may be late, too
        assert texts(source, "1+1=") == [["2"]]
        assert source.compute()["retries"] >= 2
        source.close()


FINAL = {
    "500": (fails(500, "out of memory"), 2, r"`base_url` .*got 500: out of memory, with max_retries=1; look at .*log"),
    "429": (fails(429, "slow down"), 2, r"`concurrency` .*got 429: slow down, with max_retries=1; lower it, raise"),
    "401": (fails(401, "no key"), 1, r"`api_key_env` .*variable TEACHER_KEY \(it is not set\), got 401: no key; set"),
    "403": (fails(403), 1, r"`api_key_env` .*got 403"),
    "404": (fails(404, "no model"), 1, r"`model` .*got 'teacher' \(404: no model\); correct it, or the address.*/v1"),
    "400": (fails(400, "too long"), 1, r"`model` or `extra_body`.*400: too long; .*the prompt of row 10 \(counting"),
    "gone in the middle": (hangs_up, 2, r"`base_url` .*got no reply with max_retries=1 \(peer closed"),
    "never ends": (trickles(STOPPED), 2, r"`timeout` .*within 0.5 s, got none with max_retries=1; raise it"),
    "cut JSON": (raw(b'{"choices": [{"m'), 2, r"`base_url` .*chat completions.*no JSON: .*; correct the address, or"),
    "nested JSON": (raw(b"[" * 100_000), 2, r"`base_url` .*chat completions .*no JSON"),
    "a page": (raw(b"<html>", "text/html"), 2, r"`base_url` .*chat completions .*no JSON: '<html>'"),
    "no bytes": (raw(b""), 2, r"`base_url` .*chat completions .*no JSON: ''"),
    "other fields": (raw(b'{"id": 1}'), 2, r"`base_url` .*JSON without a choice, its message and finish_reason"),
    "other types": (raw(b'{"choices": [{"message": {"content": 2}, "finish_reason": "stop"}]}'), 2, r"not texts"),
    "no reason": (raw(b'{"choices": [{"message": {"content": "2"}}]}'), 2, r"without a choice, its message and fin"),
    "a list": (raw(b"[1]"), 2, r"JSON without a choice"),
}


@pytest.mark.parametrize("case", FINAL)
def test_what_does_not_pass_is_one_error_that_names_the_endpoint(case: str, tmp_path: Path, monkeypatch):
    monkeypatch.delenv("TEACHER_KEY", raising=False)
    answer, tries, message = FINAL[case]
    with serving(answer) as server:
        source = source_of(server, tmp_path, timeout=0.5 if case == "never ends" else 60.0)
        with pytest.raises(GFTRuntimeError, match=message) as raised:
            texts(source, "1+1=")
        assert len(server.asked) == tries
        source.close()
    told = str(raised.value)
    assert "\n" not in told
    assert server.url in told
    assert str(tmp_path) in told
    assert pickle.loads(pickle.dumps(raised.value)).args == raised.value.args  # noqa: S301 (it travels between ranks)


def test_a_server_that_is_not_there(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        source = source_of(f"http://127.0.0.1:{taken.getsockname()[1]}/v1", tmp_path)
        with pytest.raises(
            GFTRuntimeError, match=r"`base_url` .*no reply with max_retries=1 \(All connection attempts"
        ):
            texts(source, "1+1=")
        source.close()


def test_finished_work_is_on_disk_and_a_later_run_asks_for_the_rest(tmp_path: Path):
    def breaks_down(handler: Any, body: Any, number: int) -> None:
        if number <= 5:
            handler.send(completion(body["messages"][0]["content"]))
        else:
            handler.send({"error": "gone"}, 500)

    prompts = [f"{n}=" for n in range(8)]
    with serving(breaks_down) as server:
        source = source_of(server, tmp_path, concurrency=1, max_retries=0)
        with pytest.raises(GFTRuntimeError, match="500"):
            texts(source, *prompts)
        source.close()
        server.answer = lambda handler, body, number: handler.send(completion(body["messages"][0]["content"]))
        again = source_of(server, tmp_path, max_retries=0)
        before = len(server.asked)
        assert texts(again, *prompts) == [[prompt] for prompt in prompts]
        assert len(server.asked) - before == 3
        assert again.compute()["cached"] == 5
        again.close()


def test_what_is_wrong_with_a_prompt_to_come_is_raised_at_its_turn_and_may_pass(tmp_path: Path):
    def refuses_b(handler: Any, body: Any, number: int) -> None:
        asked = body["messages"][0]["content"]
        handler.send(completion(asked)) if asked != "b" else fails(400, "not b")(handler, body, number)

    with serving(refuses_b) as server:
        source = source_of(server, tmp_path)
        source.prepare(batch("b"), POLICY, 0)
        assert texts(source, "a") == [["a"]]
        with pytest.raises(GFTRuntimeError, match="400: not b"):
            texts(source, "b")
        server.answer = says("now")
        assert texts(source, "b") == [["now"]]
        source.close()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"base_url": "http://me:hidden@host/v1"}, ValueError, r"`base_url` .*got one with a user, a password or a qu"),
        ({"base_url": "http://hidden@host/v1"}, ValueError, "leave them out, and write the key into the environment"),
        ({"base_url": "http://host/v1?key=hidden"}, ValueError, "got one with a user, a password or a query"),
        ({"base_url": "localhost:8000/v1"}, ValueError, "got 'localhost:8000/v1'; begin it with http:// or https://"),
        ({"base_url": "http://host:port/v1"}, ValueError, "got one that cannot be read"),
        ({"base_url": None}, ValueError, "got None; write one"),
        ({"base_url": "http://host:8000/v 1"}, ValueError, "got 'http://host:8000/v 1' with a space; leave it out"),
        ({"base_url": "http://ho st/v1"}, ValueError, "with a space; leave it out"),
        ({"base_url": "http://host/v1/chat/completions/"}, ValueError, "; give the part before /chat/completions"),
        ({"base_url": "http://host/v1/completions"}, ValueError, "; give the part before /completions"),
        ({"api_key_env": "sk-hidden"}, ValueError, "`api_key_env` .*expected the name of an environment variable"),
        ({"api_key_env": "hf_hidden"}, ValueError, "`api_key_env` .*expected the name of an environment variable"),
        ({"model": ""}, TypeError, "`model` of EndpointSource: expected a text"),
        ({"timeout": 0}, ValueError, "`timeout` of EndpointSource: expected a number above 0, got 0"),
        ({"max_retries": -1}, ValueError, "`max_retries` of EndpointSource"),
        ({"concurrency": 0}, ValueError, "`concurrency` of EndpointSource"),
        ({"ahead": -1}, ValueError, "`ahead` of EndpointSource"),
        ({"temperature": 0, "num_responses": 2}, ValueError, "`num_responses` .*expected 1 with temperature=0, got 2"),
        ({"reasoning": "maybe"}, ValueError, "`reasoning` of EndpointSource: expected drop or keep, got 'maybe'"),
        ({"extra_body": {"n": 3}}, ValueError, "`extra_body` .*expected fields other than model, messages, n, stream"),
        ({"extra_body": [1]}, TypeError, "`extra_body` of EndpointSource: expected fields by name, got"),
        ({"system_prompt": 3}, TypeError, "`system_prompt` of EndpointSource: expected a text, got 3"),
    ],
)
def test_settings_are_checked_and_what_may_be_a_key_is_not_shown(settings, error, message, tmp_path: Path):
    with pytest.raises(error, match=message) as raised:
        source_of("http://localhost:8000/v1", tmp_path, **settings)
    assert "hidden" not in str(raised.value)


def test_a_cache_that_cannot_be_written_to_is_refused_at_once(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"`cache` of EndpointSource: expected a folder .*, got '.*file/replies' \("):
        source_of("http://localhost:8000/v1", tmp_path / "file/replies").setup()


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr("lightning_gft.extras.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=re.escape("EndpointSource needs openai") + r".*lightning-gft\[endpoint\]"):
        source_of("http://localhost:8000/v1", tmp_path)
