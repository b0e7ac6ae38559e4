"""The key reaches the server and nothing else."""

from __future__ import annotations

import json
import logging
import pickle
import traceback
from pathlib import Path

import pytest

from lightning_gft.checkpoint.describing import describe
from tests.sources.endpoint.cases import KEY, source_of, texts
from tests.sources.endpoint.servers import Body, Handler, completion, fails, says, serving


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


@pytest.mark.parametrize("escaped", [False, True])
def test_a_reply_that_holds_the_key_is_no_demonstration_and_not_on_disk(escaped: bool, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("TEACHER_KEY", KEY)

    def answer(handler: Handler, body: Body, number: int) -> None:
        content = json.dumps(completion(f"You sent {KEY}", id=KEY))
        handler.send(content.replace("sk-", r"\u0073k-" if escaped else "sk-").encode())

    with serving(answer) as server:
        source = source_of(server, tmp_path)
        with pytest.warns(UserWarning, match="contains the API key") as warned:
            assert texts(source, "1+1=") == [[]]
        assert source.compute()["dropped"] == 1
        source.close()
    written = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) == 1
    assert not any("0123456789" in text for text in (*written, *(str(one.message) for one in warned)))


def test_a_key_that_is_a_word_is_found_in_no_reply_and_one_elsewhere_in_the_body_does_no_harm(
    tmp_path: Path, monkeypatch
):
    monkeypatch.setenv("TEACHER_KEY", "EMPTY")
    with serving(says("EMPTY")) as server:
        source = source_of(server, tmp_path / "word")
        assert texts(source, "1+1=") == [["EMPTY"]]
        source.close()
        monkeypatch.setenv("TEACHER_KEY", KEY)
        server.answer = lambda handler, body, number: handler.send(completion("2") | {"id": KEY})
        source = source_of(server, tmp_path / "elsewhere")
        assert texts(source, "1+1=") == [["2"]]
        source.close()


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
    with pytest.warns(UserWarning, match="the key in TEACHER_KEY is sent unencrypted to teacher.example; use https"):
        source.setup()
    source.close()


def test_a_card_names_the_teacher_and_not_its_address(tmp_path: Path):
    first = source_of("http://intern.example:8000/v1", tmp_path, extra_body={"secret": "hidden"})
    shown = describe(first)
    other = {"timeout": 5.0, "max_retries": 3, "concurrency": 2, "ahead": 0}
    assert describe(source_of("http://other:8000/v1", tmp_path, **other)) == shown  # so a prediction resumes with it
    assert describe(source_of("http://other:8000/v1", tmp_path, temperature=0.5)) != shown
    assert "model='teacher'" in shown
    assert "temperature=1.0" in shown
    assert "intern.example" not in shown
    assert "hidden" not in shown
