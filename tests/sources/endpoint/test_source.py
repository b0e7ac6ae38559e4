"""What a teacher behind a server gives, counts, keeps on disk and keeps to itself."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import pickle
import threading
import traceback
from pathlib import Path
from typing import Any

import pytest

from lightning_gft import GroupDataModule, Source
from lightning_gft.checkpoint.describing import describe
from tests.chat import templates as known
from tests.chat.templates import chat_tokenizer
from tests.sources.endpoint.cases import KEY, POLICY, batch, source_of, texts
from tests.sources.endpoint.servers import Body, completion, fails, says, serving


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


def test_figures_are_those_since_the_last_step(tmp_path: Path):
    with serving() as server:
        source = source_of(server, tmp_path, num_responses=2)
        texts(source, "1+1=")
        first = source.compute()
        source.prepare(batch("2+2="))  # while the figures of a step are taken
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


def data_of(tmp_path: Path, template: str, answers: list[str], **settings: Any) -> Any:
    """Return a datamodule whose only row has the answers as its teacher's."""
    file = tmp_path / "rows.json"
    file.write_text(json.dumps([{"prompt": "hi", "answer": "5", "teacher": answers}]))
    data = GroupDataModule(str(file), teacher_column="teacher", batch_size=1, **settings)
    data.tokenizer = chat_tokenizer(template)
    data.setup("fit")
    return data


TEXTS = ["five", " five\n", "<think>\none\n</think>\n\nfive", "five<|im_end|>", "five <eos> ", "The answer: 5"]


@pytest.mark.parametrize("prefix", ["", "<think>\n", "The "])
@pytest.mark.parametrize("template", [known.CHATML, known.QWEN3, known.GEMMA, known.LLAMA2, None])
def test_a_reply_is_encoded_as_the_data_encode_it(template: str | None, prefix: str, tmp_path: Path):
    settings: dict[str, Any] = {"response_prefix": prefix}
    if template is None:
        settings |= {"use_chat_template": False, "prompt_template": "Q: {prompt} A: "}
    data = data_of(tmp_path, template or known.CHATML, TEXTS, **settings)
    (prompts,) = data.train_dataloader()
    with serving(lambda handler, body, number: handler.send(completion(TEXTS[number - 1]))) as server:
        source = source_of(server, tmp_path / "cache", num_responses=len(TEXTS), concurrency=1)
        [given] = source.respond(prompts, POLICY, 0)
        source.close()
    assert [response.token_ids for response in given] == [
        response.token_ids for response in prompts.demonstrations["teacher"][0]
    ]
    assert len(given) == len(TEXTS)


def test_what_the_students_template_does_not_write_is_counted(tmp_path: Path):
    kept = {
        "five": 0,
        "<think>\none\n</think>\n\nfive": 1,  # the template drops it, so the text stands as it is
        "five<eos>": 0,
        "<|im_start|>five": 1,
    }
    dropped = {"five<eos>six": 1, " ": 0, "five" * 20: 0, "f\u00fcnf \u4e94": 1}
    answers = {**kept, **dropped}
    data = data_of(tmp_path, known.QWEN3, ["five"], max_response_length=40)
    (prompts,) = data.train_dataloader()
    for text, rendered in answers.items():
        with serving(says(text)) as server:
            source = source_of(server, tmp_path / f"cache{len(text)}{rendered}")
            if text in dropped:
                with pytest.warns(UserWarning, match="a teacher's reply is no demonstration"):
                    [given] = source.respond(prompts, POLICY, 0)
            else:
                [given] = source.respond(prompts, POLICY, 0)
            source.close()
        figures = source.compute()
        assert (len(given), figures["dropped"]) == ((1, 0) if text in kept else (0, 1)), text
        assert figures["not_rerendered"] == rendered, text


def test_equal_replies_are_told(tmp_path: Path):
    with serving(says("2")) as server:
        source = source_of(server, tmp_path, num_responses=2)
        with pytest.warns(UserWarning, match="the replies to each of 2 prompts are all equal; let the server draw"):
            texts(source, "1+1=", "2+0=")
        source.close()


def test_asked_ahead_is_asked_once_and_several_at_once(tmp_path: Path):
    together = threading.Barrier(4, timeout=60)

    def waits(handler: Any, body: Body, number: int) -> None:
        together.wait()  # for three others
        echo(handler, body, number)

    with serving(waits) as server:
        source = source_of(server, tmp_path, num_responses=2, concurrency=4)
        source.prepare(batch("1+1="))
        source.prepare(batch("1+1=", "2+2="))
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
        source.prepare(batch("2+2="))
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


def test_the_key_is_sent_and_nowhere_else(tmp_path: Path, monkeypatch, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("TEACHER_KEY", f" {KEY}\n")
    monkeypatch.setenv("OPENAI_API_KEY", "another")
    shown: list[str] = []
    with serving(fails(400, f"Bearer {KEY} and {KEY[:20]}{KEY[20:]}")) as server:
        source = source_of(server, tmp_path)
        source.setup()
        with pytest.raises(RuntimeError) as raised:
            texts(source, "1+1=")
        shown += traceback.format_exception(raised.value)
        error: BaseException | None = raised.value
        while error is not None:  # what a debugger or a service that collects errors finds
            shown += [repr(vars(error)), repr(error)]
            error = error.__cause__ or error.__context__
        server.answer = says("2")
        texts(source, "2+2=")
        shown += [
            repr(source),
            repr(vars(source)),
            repr(vars(source._server)),
            describe(source),
            str(pickle.dumps(source)),
        ]
        source.close()
    assert {headers["authorization"] for headers in server.headers} == {f"Bearer {KEY}"}
    files = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    out = capfd.readouterr()
    for text in (*shown, *files, caplog.text, out.out, out.err, *(str(body) for body in server.asked)):
        assert KEY not in text


def test_without_a_key_none_is_sent_and_no_other_either(tmp_path: Path, monkeypatch):
    monkeypatch.delenv("TEACHER_KEY", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "another")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "another")
    with serving() as server:
        source = source_of(server, tmp_path)
        texts(source, "1+1=")
        source.close()
    assert "authorization" not in {name.lower() for name in server.headers[0]}
    assert "another" not in str(server.headers)


def test_a_key_that_cannot_be_sent_and_one_that_goes_in_the_open(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("TEACHER_KEY", "two words")
    with pytest.raises(ValueError, match=r"`api_key_env` .*variable TEACHER_KEY, got a text with spaces") as raised:
        source_of("http://localhost:8000/v1", tmp_path).setup()
    assert "two words" not in str(raised.value)
    monkeypatch.setenv("TEACHER_KEY", KEY)
    source = source_of("http://teacher.example:8000/v1", tmp_path)
    with pytest.warns(UserWarning, match="the key in TEACHER_KEY goes unencrypted to teacher.example; use https"):
        source.setup()
    source.close()


def test_a_card_names_the_teacher_and_not_its_address(tmp_path: Path):
    shown = describe(source_of("http://intern.example:8000/v1", tmp_path, extra_body={"secret": "hidden"}))
    assert "model='teacher'" in shown
    assert "temperature=1.0" in shown
    assert "intern.example" not in shown
    assert "hidden" not in shown
