"""Replies on disk: what a key is made of, what is damaged, and who shares the folder."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from lightning_gft.data import Example
from tests.cli.command import ROOT
from tests.sources.endpoint.cases import POLICY, batch, source_of, texts
from tests.sources.endpoint.servers import Body, FakeServer, completion, says, serving

SAME = {"timeout": 5.0, "max_retries": 3, "concurrency": 2, "ahead": 0, "reasoning": "keep"}
OTHER = {
    "model": "another",
    "max_new_tokens": 8,
    "temperature": 0.5,
    "top_p": 0.5,
    "seed": 1,
    "system_prompt": "Be brief.",
    "extra_body": {"top_k": 5},
}


def numbered(handler: Any, body: Body, number: int) -> None:
    handler.send(completion(f"{body['messages'][-1]['content']} {number}"))


def test_a_reply_is_known_by_messages_model_settings_and_number(tmp_path: Path):
    with serving(numbered) as server, serving(says("another server")) as elsewhere:
        first = texts(source_of(server, tmp_path), "1+1=")
        for name, value in SAME.items():
            assert texts(source_of(server, tmp_path, **{name: value}), "1+1=") == first, name
        assert texts(source_of(elsewhere, tmp_path), "1+1=") == first
        assert len(server.asked) == 1
        more = texts(source_of(server, tmp_path, num_responses=2), "1+1=")
        assert (more[0][0], len(server.asked)) == (first[0][0], 2)
        for asked, (name, value) in enumerate(OTHER.items(), start=3):
            assert texts(source_of(server, tmp_path, **{name: value}), "1+1=") != first, name
            assert len(server.asked) == asked, name
        texts(source_of(server, tmp_path), "1+2=")
        assert len(server.asked) == 3 + len(OTHER)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b'"text"', b"\xff\xfe", b'{"text": 1, "reasoning": "", "finish_reason": "stop"}'],
)
def test_what_is_damaged_is_left_aside_and_asked_for_again(content: bytes, tmp_path: Path):
    with serving() as server:
        texts(source_of(server, tmp_path), "1+1=")
        (file,) = tmp_path.rglob("*.json")
        whole = file.read_bytes()
        file.write_bytes(content)
        with pytest.warns(UserWarning, match=rf"`cache` .*{file.name}, got a damaged file \("):
            assert texts(source_of(server, tmp_path), "1+1=") == [["2"]]
        assert file.read_bytes() == whole
    assert len(server.asked) == 2


def test_a_disk_that_takes_no_more_does_not_stop_a_run(tmp_path: Path):
    with serving() as server:
        source = source_of(server, tmp_path)
        source.setup()
        asked = source.params.question([{"role": "user", "content": "1+1="}], 0)
        (tmp_path / asked.key[:2]).write_text("in the way")
        with pytest.warns(UserWarning, match=r"`cache` .*expected a folder .*\(Not a directory|File exists"):
            assert texts(source, "1+1=") == [["2"]]
        source.close()


def test_a_prompt_that_json_cannot_write_is_named(tmp_path: Path):
    prompts = batch("1+1=")
    prompts.messages = [[{"role": "user", "content": b"bytes"}]]
    source = source_of("http://localhost:8000/v1", tmp_path)
    with pytest.raises(
        TypeError, match=r"^`EndpointSource`: expected messages that JSON can represent, got \[\{'role'"
    ):
        source.respond(prompts, POLICY, 0)
    rows = [Example([1], "a", None, {}, {}, row=7, messages=messages) for messages in prompts.messages]
    with pytest.raises(ValueError, match=r"train data, row 7 \(counting from 0\): `EndpointSource`: expected messages"):
        source.check_prompts(rows, None)  # type: ignore[arg-type]  # before training


def _ask(url: str, cache: Path, prompts: tuple[str, ...]) -> None:
    source = source_of(url, cache, num_responses=2, concurrency=2)
    texts(source, *prompts)
    source.close()


def asking(server: FakeServer, cache: Path, *prompts: str) -> BaseProcess:
    """Start a process that asks; a fork, as it need not import all over again."""
    process = multiprocessing.get_context("fork").Process(target=_ask, args=(server.url, cache, prompts), daemon=True)
    process.start()
    return process


def wait_until(happened: Callable[[], object], process: BaseProcess) -> None:
    deadline = time.monotonic() + 300
    while not happened():
        assert process.is_alive(), "ended by itself"
        assert time.monotonic() < deadline, "hangs"
        time.sleep(0.01)


def asked_for(server: FakeServer) -> list[tuple[str, int]]:
    return [(body["messages"][-1]["content"], body["seed"]) for body in server.asked]


def test_a_killed_process_loses_what_was_under_way_and_nothing_else(tmp_path: Path):
    hold = threading.Event()

    def holds_the_fourth(handler: Any, body: Body, number: int) -> None:
        if number >= 4:
            hold.wait(120)
        numbered(handler, body, number)

    with serving(holds_the_fourth) as server:
        process = asking(server, tmp_path, "a", "b", "c", "d")
        wait_until(lambda: len([*tmp_path.rglob("*.json")]) == 3 and len(server.asked) == 5, process)
        process.kill()
        process.join(60)
        hold.set()
        answered = {json.loads(file.read_text())["text"] for file in tmp_path.rglob("*.json")}
        before = asked_for(server)
        again = source_of(server, tmp_path, num_responses=2)
        given = texts(again, "a", "b", "c", "d")
        assert again.compute()["cached"] == 3
        again.close()
    asked = asked_for(server)[len(before) :]
    assert len(asked) == 5
    assert not {*asked} & {*before[:3]}  # which were answered
    assert answered <= {text for of_prompt in given for text in of_prompt}
    assert not [*tmp_path.rglob("*.part")]


def test_processes_share_a_folder(tmp_path: Path):
    with serving(numbered) as server:
        first = [asking(server, tmp_path, *prompts) for prompts in (("a", "b", "c"), ("c", "d", "a"))]
        for process in first:
            process.join(300)
        assert [process.exitcode for process in first] == [0, 0]
        asked = len(server.asked)
        assert asked <= 12  # what both ask for at the same moment may be sent twice
        assert {*asked_for(server)} == {*asked_for(server)[:asked]}
        again = source_of(server, tmp_path, num_responses=2)
        assert len(texts(again, "a", "b", "c", "d")) == 4
        assert again.compute()["cached"] == 8
        again.close()
    assert len(server.asked) == asked


LEAVES = """
import sys
from tests.sources.endpoint.cases import POLICY, batch, source_of
source = source_of(sys.argv[1], sys.argv[2])
source.prepare(batch("a", "b"), POLICY, 0)
sys.stdin.readline()  # until they are under way
"""


@pytest.mark.slow
def test_a_program_that_forgets_to_close_ends_all_the_same(tmp_path: Path):
    released = threading.Event()
    with serving(lambda handler, body, number: released.wait(300)) as server:
        command = [sys.executable, "-c", LEAVES, server.url, str(tmp_path)]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            while len(server.asked) < 2:
                assert process.poll() is None
                time.sleep(0.01)
            _, told = process.communicate(b"\n", timeout=120)
        released.set()
    assert (process.returncode, told) == (0, b"")
