"""What a teacher behind a server is asked, gives and counts."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest

from lightning_gft import Source
from tests.sources.endpoint.cases import POLICY, batch, source_of, texts
from tests.sources.endpoint.servers import Body, completion, says, serving


def echo(handler: Any, body: Body, number: int) -> None:
    """Answer with the request's seed, which each reply has of its own."""
    handler.send(completion(f"{body['messages'][-1]['content']} {body['seed']}"))


def test_each_response_is_a_request_with_a_seed_of_its_own(tmp_path: Path):
    with serving(echo) as server:
        source = source_of(server, tmp_path, num_responses=3, max_new_tokens=7, temperature=0.5, top_p=0.9)
        first, second = texts(source, "1+1=", "2+2=")
        source.close()
    assert source.source == Source.TEACHER
    assert (source.draws(), source.reads(), source.looks_ahead()) == (False, frozenset(), 2)
    assert len({*first, *second}) == 6
    assert all(text.startswith("1+1= ") for text in first)
    body = server.asked[0]
    assert body.pop("seed") < 2**31
    assert body == {
        "model": "teacher",
        "messages": [{"role": "user", "content": body["messages"][0]["content"]}],
        "max_completion_tokens": 7,
        "temperature": 0.5,
        "top_p": 0.9,
    }


def test_what_else_is_sent(tmp_path: Path):
    prompts = batch("2+2=")
    prompts.messages = [[{"role": "system", "content": "old"}, {"role": "user", "content": "hi"}]]
    with serving() as server:
        extra = {"top_k": 20, "top_p": None, "max_completion_tokens": None, "max_tokens": 9}
        source = source_of(server, tmp_path, seed=None, system_prompt="new", extra_body=extra)
        source.respond(prompts, POLICY, 0)
        source.close()
        plain = source_of(server, tmp_path / "other")
        plain.respond(prompts, POLICY, 0)
        plain.close()
    assert server.asked[0] == {
        "model": "teacher",
        "messages": [{"role": "system", "content": "new"}, {"role": "user", "content": "hi"}],
        "temperature": 1.0,
        "top_k": 20,
        "max_tokens": 9,
    }
    assert server.asked[1]["messages"] == prompts.messages[0]


WITHOUT = {
    "cut": [says("1+1=", "length")],
    "dropped": [
        says("1+1=", "content_filter"),
        says(None, "stop", refusal="I will not"),
        says(None, "tool_calls", tool_calls=[{"id": "1", "type": "function"}]),
        says(None, "stop", tool_calls=[{"id": "1", "type": "function"}]),
        says("1+1=", "something else"),
        says(" \n"),
        says(None, "stop", reasoning_content="1 and 1"),
        lambda handler, body, number: handler.send({"error": {"message": "no", "code": "content_filter"}}, 400),
    ],
}


@pytest.mark.parametrize(("figure", "answer"), [(name, answer) for name in WITHOUT for answer in WITHOUT[name]])
def test_what_is_no_whole_reply_is_no_demonstration(figure: str, answer: Any, tmp_path: Path):
    with serving(answer) as server:
        source = source_of(server, tmp_path)
        with pytest.warns(UserWarning, match=rf"EndpointSource: a teacher's reply .* are counted as `{figure}`"):
            assert texts(source, "1+1=") == [[]]
        assert texts(source, "1+1=") == [[]]  # from disk, with its reason
        source.close()
    assert len(server.asked) == 1
    figures = source.compute()
    assert {name: figures[name] for name in ("cut", "dropped", "cached", "replies")} == {
        **{"cut": 0, "dropped": 0},
        **{figure: 2, "cached": 1, "replies": 2},
    }


def test_half_a_character_is_no_text_that_a_tokenizer_reads(tmp_path: Path):
    with serving(says("2 \ud83d and \U0001f600")) as server:
        for _ in range(2):  # from disk too
            source = source_of(server, tmp_path)
            assert texts(source, "1+1=") == [["2 \ufffd and \U0001f600"]]
            source.close()


def test_figures_are_those_since_the_last_step(tmp_path: Path):
    with serving() as server:
        source = source_of(server, tmp_path, num_responses=2)
        texts(source, "1+1=")
        first = source.compute()
        source.prepare(batch("2+2="), POLICY, 0)  # while the figures of a step are taken
        asked = [source.params.question([{"role": "user", "content": "2+2="}], number) for number in range(2)]
        source._asking().replies(asked)
        source.reset()
        second = source.compute()
        source.reset()
        third = source.compute()
        source.close()
    assert first.pop("seconds") > 0
    assert first == {
        **{"requests": 2, "retries": 0, "tokens": 10, "replies": 2},
        **{"cached": 0, "cut": 0, "dropped": 0, "not_rerendered": 0},
    }
    assert (second["requests"], second["tokens"]) == (2, 10)
    assert not any(third.values())


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_thoughts_that_come_apart_are_dropped_or_kept(field: str, tmp_path: Path):
    with serving(says("\n\n2", **{field: "1 and 1\n"})) as server:
        dropping, keeping = (source_of(server, tmp_path, reasoning=choice) for choice in ("drop", "keep"))
        assert texts(dropping, "1+1=") == [["\n\n2"]]
        assert texts(keeping, "1+1=") == [["<think>\n1 and 1\n</think>\n\n2"]]
        assert len(server.asked) == 1  # the same reply
        dropping.close()
        keeping.close()


def test_equal_replies_are_told(tmp_path: Path):
    with serving(says("2")) as server:
        source = source_of(server, tmp_path, num_responses=2)
        with pytest.warns(UserWarning, match="got equal ones to each of 2 prompts; make the server sample"):
            texts(source, "1+1=", "2+0=")
        source.close()


def test_asked_ahead_is_asked_once_and_several_at_once(tmp_path: Path):
    together = threading.Barrier(4, timeout=60)

    def waits(handler: Any, body: Body, number: int) -> None:
        together.wait()  # for three others
        echo(handler, body, number)

    with serving(waits) as server:
        source = source_of(server, tmp_path, num_responses=2, concurrency=4)
        source.prepare(batch("1+1="), POLICY, 0)
        source.prepare(batch("1+1=", "2+2="), POLICY, 0)
        assert len({text for given in texts(source, "2+2=", "1+1=") for text in given}) == 4
        source.close()
    assert len(server.asked) == 4


def test_no_more_requests_at_once_than_allowed(tmp_path: Path):
    now, most, lock = [0], [0], threading.Lock()

    def counted(handler: Any, body: Body, number: int) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        threading.Event().wait(0.02)
        with lock:
            now[0] -= 1
        echo(handler, body, number)

    with serving(counted) as server:
        source = source_of(server, tmp_path, num_responses=12, concurrency=3)
        assert len(texts(source, "1+1=")[0]) == 12
        source.close()
    assert 1 <= most[0] <= 3


def test_any_thread_may_ask_beside_a_running_event_loop(tmp_path: Path):
    with serving(echo) as server:
        source = source_of(server, tmp_path)
        given: list[Any] = []

        async def notebook() -> None:
            given.append(texts(source, "1+1="))

        asyncio.run(notebook())
        threads = [threading.Thread(target=lambda n=n: given.append(texts(source, f"{n % 4}="))) for n in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        source.close()
    assert len(given) == 17
    assert len(server.asked) == 5


def test_what_is_under_way_at_the_end_is_given_up(tmp_path: Path):
    arrived, released = threading.Event(), threading.Event()

    def hangs(handler: Any, body: Body, number: int) -> None:
        if number == 1:
            return echo(handler, body, number)
        arrived.set()
        released.wait(60)
        return None

    with serving(hangs) as server:
        source = source_of(server, tmp_path)
        first = texts(source, "1+1=")
        source.prepare(batch("2+2="), POLICY, 0)
        assert arrived.wait(60)
        threads = [thread for thread in threading.enumerate() if thread.name == "EndpointSource"]
        source.close()
        assert not any(thread.is_alive() for thread in threads)
        source.close()
        assert texts(source, "1+1=") == first  # set up anew, from disk
        source.close()
        released.set()


def test_a_copy_has_connections_of_its_own(tmp_path: Path):
    with serving(echo) as server:
        source = source_of(server, tmp_path)
        first = texts(source, "1+1=")
        for other in (pickle.loads(pickle.dumps(source)), copy.deepcopy(source)):  # noqa: S301
            assert texts(other, "1+1=") == first
            assert other.compute()["cached"] == 1
            other.close()
        source.close()
