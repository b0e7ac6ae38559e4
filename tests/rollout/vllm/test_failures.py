"""A server that fails, hangs or dies during a draw: no response is lost, and none is returned twice."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lightning_gft import LoRA, Policy, SamplingParams
from lightning_gft.errors import GFTRuntimeError
from lightning_gft.phases import DrawCounts, counting
from lightning_gft.rollout.vllm.connection import Served
from lightning_gft.seeds import spawn_seeds
from lightning_gft.waiting import ending_waits
from tests.rollout.vllm import stand_in
from tests.rollout.vllm.conftest import Make
from tests.rollout.vllm.stand_in import StandIn, completion

SAMPLING = SamplingParams(max_new_tokens=6)
PROMPTS = [[5, 6, 7], [8, 9], [10]]


def fails_at(*numbers: int, status: int = 500) -> Callable[[int], object]:
    return lambda number: (status, {"error": {"message": "out of luck"}}) if number in numbers else None


def test_what_is_missing_is_asked_for_again(server: StandIn, make: Make):
    expected = make().generate(PROMPTS, 3, SAMPLING, 1)
    before = server.completions
    server.misbehave = fails_at(before + 2, before + 5, before + 10)
    policy = make()
    assert policy.generate(PROMPTS, 3, SAMPLING, 1) == expected
    assert server.completions == before + 9 + 2 + 1
    assert policy.engine.compute()["retries"] == 3


def test_a_completion_that_a_stopped_server_aborts_is_requested_again(server: StandIn, make: Make):
    expected = make().generate(PROMPTS, 3, SAMPLING, 1)
    first = server.completions + 1
    server.misbehave = lambda number: (200, completion([3], [-1.0], "abort")) if number == first else None
    policy = make()
    assert policy.generate(PROMPTS, 3, SAMPLING, 1) == expected
    assert policy.engine.compute()["retries"] == 1


def test_what_is_requested_again_counts_once(server: StandIn, make: Make):
    first = server.completions + 1
    server.misbehave = lambda number: {
        first: (200, completion([3], [-1.0], "abort")),
        first + 3: (500, {"error": {"message": "out of luck"}}),
    }.get(number)
    policy, counts = make(), DrawCounts(9)
    policy.engine.prepare(policy)
    with counting(counts):
        drawn = policy.engine.generate(policy.model, PROMPTS, 3, SAMPLING, spawn_seeds(1, 9), policy.end)
    assert policy.engine.compute()["retries"] == 2
    tokens = sum(len(response.token_ids) for of_prompt in drawn for response in of_prompt)
    assert (counts.responses, counts.tokens) == (9, tokens)


def test_a_server_that_fails_on_is_one_line(server: StandIn, make: Make):
    server.misbehave = lambda _: (503, {"error": {"message": "out of\nluck"}})
    with pytest.raises(GFTRuntimeError, match=r"^`url` of .* got status 503: out of luck, with max_retries=2; .*$"):
        make(max_retries=2).generate(PROMPTS, 1, SAMPLING, 1)
    assert server.completions == 9


def test_a_request_that_is_refused_is_not_sent_again(server: StandIn, make: Make):
    server.misbehave = fails_at(*range(99), status=400)
    with pytest.raises(GFTRuntimeError, match=r"^`url` of VLLMEngine: .* got status 400: out of luck; .*$"):
        make().generate(PROMPTS, 1, SAMPLING, 1)
    assert server.completions == 3


def test_no_server_is_one_line(make: Make):
    with pytest.raises(GFTRuntimeError, match=r"^`url` of VLLMEngine: .*9, got no connection .* max_retries=1; .*$"):
        make(url="http://127.0.0.1:9", max_retries=1).generate(PROMPTS, 1, SAMPLING, 1)


def test_a_server_that_hangs_is_one_line(server: StandIn, make: Make):
    policy = make(max_retries=0, timeout=0.5)
    server.misbehave = lambda _: time.sleep(2)
    with pytest.raises(GFTRuntimeError, match=r"got no reply within timeout=0.5 s"):
        policy.generate(PROMPTS, 1, SAMPLING, 1)


def test_a_server_that_hangs_takes_its_time_limit_once(server: StandIn, make: Make):
    policy = make(max_retries=0, timeout=0.5, concurrency=1)
    server.misbehave = lambda _: time.sleep(2)
    with pytest.raises(GFTRuntimeError, match=r"got no reply within timeout=0.5 s"):
        policy.generate(PROMPTS, 3, SAMPLING, 1)
    assert server.completions == 1  # of 9


def lose_weights(server: StandIn, number: int) -> Callable[[int], object]:
    """Restart the server at a completion: it drops the connection, forgets all weights and replies again."""

    def misbehave(now: int) -> None:
        if now == number:
            server.start_anew()
            raise ConnectionResetError

    return misbehave


@pytest.mark.parametrize(
    "lora", [pytest.param(None, id="reload"), pytest.param(LoRA(r=2), id="adapter", marks=pytest.mark.slow)]
)
def test_a_server_that_is_restarted_in_mid_draw_gets_its_weights_again(server: StandIn, make: Make, lora: LoRA | None):
    expected = make(lora=lora).generate(PROMPTS, 3, SAMPLING, 1)
    policy = make(lora=lora, concurrency=1)
    server.start_anew()
    server.misbehave = lose_weights(server, server.completions + 4)
    assert policy.generate(PROMPTS, 3, SAMPLING, 1) == expected
    served = server.adapters or server.weights
    assert served
    server.start_anew()  # between two draws
    assert policy.generate(PROMPTS, 3, SAMPLING, 1) == expected
    assert server.adapters or server.weights


@pytest.mark.parametrize("restarted", ["before the draw", "within it"])
def test_replies_of_a_server_that_another_rank_has_just_restored_are_not_used(
    server: StandIn, make: Make, restarted: str
):
    policy = make(concurrency=1)
    policy.generate(PROMPTS, 1, SAMPLING, 1)
    requests, version = server.bodies("/v1/completions")[-3:], server.version
    first = server.completions + 1

    def restore(now: int) -> None:
        server.version = version  # the other rank is done by the end of this draw
        if restarted == "within it" and now == first:
            raise ConnectionResetError

    server.misbehave = restore
    if restarted == "before the draw":
        server.start_anew()
    replies, fault = policy.engine._connection._ask(requests, DrawCounts(len(requests)))
    assert replies == {}
    assert fault is not None
    assert fault.kind != "refused"


def test_a_request_to_stop_ends_the_wait(server: StandIn, make: Make):
    policy = make()
    released = threading.Event()
    server.misbehave = lambda _: released.wait(600) and None

    def stop() -> None:
        if server.completions:
            raise SystemExit(143)

    with ending_waits(stop), pytest.raises(SystemExit):
        policy.generate(PROMPTS, 1, SAMPLING, 1)
    assert not released.is_set()
    released.set()


def drawn_by_own(make: Make, folder: Path, *arguments: str, **settings: object) -> Policy:
    notes = folder / "notes"
    notes.mkdir()
    command = [sys.executable, stand_in.__file__, "serve", "--notes", str(notes), *arguments]
    return make(command=command, log=str(folder / "log"), start_timeout=300.0, **settings)


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("ending", "timeout"),
    [pytest.param([], 60.0, id="dies"), pytest.param(["--hangs"], 10.0, id="hangs", marks=pytest.mark.slow)],
)
def test_a_server_of_the_runs_own_is_started_again(make: Make, tmp_path: Path, ending: list[str], timeout: float):
    expected = make().generate(PROMPTS, 3, SAMPLING, 1)
    policy = drawn_by_own(make, tmp_path, "--ends-at", "5", *ending, timeout=timeout, concurrency=2)
    with pytest.warns(UserWarning, match="VLLMEngine: the server was restarted after no .*; its log is"):
        assert policy.generate(PROMPTS, 3, SAMPLING, 1) == expected
    figures = policy.engine.compute()
    assert (figures["restarts"], figures["syncs"]) == (1, 1)
    started = [int(note.name.removeprefix("start-")) for note in (tmp_path / "notes").iterdir()]
    assert len(started) == 2
    policy.weights_changed()
    policy.generate(PROMPTS, 1, SAMPLING, 1)
    assert [is_there(pid) for pid in started].count(True) == 1
    policy.engine.close()
    assert not any(map(is_there, started))


def test_a_server_that_ends_between_two_draws_is_restarted_and_counted(make: Make, tmp_path: Path):
    policy = drawn_by_own(make, tmp_path)
    policy.generate(PROMPTS, 1, SAMPLING, 1)
    [note] = (tmp_path / "notes").iterdir()
    pid = int(note.name.removeprefix("start-"))
    os.kill(pid, signal.SIGKILL)
    while policy.engine._connection._endpoint._own._server.alive():  # its guard notices a little later
        time.sleep(0.01)
    policy.weights_changed()
    with pytest.warns(UserWarning, match="the server was restarted after it had ended between two draws"):
        policy.generate(PROMPTS, 1, SAMPLING, 1)
    assert policy.engine.compute()["restarts"] == 1


def test_a_rank_on_another_machine_than_the_started_server_is_one_line(make: Make, tmp_path: Path):
    connection = make(command=[sys.executable, "serve"], log=str(tmp_path / "log")).engine._connection
    with pytest.raises(GFTRuntimeError, match=r"`command` of .*: expected all ranks on the machine of the first"):
        connection.take(Served("policy", "a-1", tmp_path / "url"))


def test_a_log_that_cannot_be_written_is_one_line_before_the_first_draw(make: Make):
    with pytest.raises(GFTRuntimeError, match=r"`log`: expected a file that can be written, got /dev/null/log"):
        make(command=[sys.executable, "serve"], log="/dev/null/log")


def test_a_missing_program_is_one_line_before_the_first_draw(make: Make):
    with pytest.raises(GFTRuntimeError, match=r"`command`: expected an installed program .*, got 'no-such-vllm'"):
        make(command="no-such-vllm serve")


def test_a_server_that_does_not_start_shows_its_log(make: Make, tmp_path: Path):
    policy = make(command=[sys.executable, "-c", "raise SystemExit('no GPU')"], log=str(tmp_path / "log"))
    with pytest.raises(GFTRuntimeError, match=r"no GPU"):
        policy.generate(PROMPTS, 1, SAMPLING, 1)
