"""A server sleeps while the policy trains, and has its memory and its weights again before it draws."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lightning_gft import LoRA, NoSync, Policy, SelfSource, VLLMEngine
from lightning_gft.errors import GFTRuntimeError
from lightning_gft.rollout.vllm.server import ManagedServer
from tests.module.runs import fit
from tests.rollout.vllm import stand_in
from tests.rollout.vllm.conftest import Make
from tests.rollout.vllm.stand_in import StandIn
from tests.rollout.vllm.test_weights import draw, stir
from tests.training.test_ahead import data, module_with

RELOAD = ["/collective_rpc", "/reset_prefix_cache", "/update_weight_version"]
CHECKED = ["/weight_info"] * 2
TO_SLEEP = {1: ["/sleep?level=1"], 2: ["/update_weight_version", "/sleep?level=2"]}
WAKE_WEIGHTS, WAKE_CACHE = (["/is_sleeping", f"/wake_up?tags={tag}"] for tag in ("weights", "kv_cache"))


def since(server: StandIn, number: int) -> list[str]:
    return server.paths()[number:]


def test_weights_are_woken_then_sent_and_then_the_cache_is_woken(server: StandIn, make: Make):
    policy = make(sleep=True)
    draw(policy)
    before = len(server.paths())
    policy.engine.rest()
    policy.engine.rest()
    assert since(server, before) == TO_SLEEP[2]
    assert server.version == "asleep", "a server without weights has no version of theirs"
    stir(policy)
    draw(policy)
    assert since(server, before + 2) == [*WAKE_WEIGHTS, "/weight_info", *RELOAD, *WAKE_CACHE, *CHECKED]
    draw(policy)
    assert since(server, before + 2)[-4:] == CHECKED * 2, "a server that is awake stays awake between two draws"


def test_weights_that_have_not_changed_are_sent_again_but_not_written_again(server: StandIn, make: Make):
    policy = make(sleep=True)
    draw(policy)
    written, version = server.weights, server.version
    modified = Path(written, "model.safetensors").stat().st_mtime_ns
    policy.engine.rest()
    draw(policy)
    assert (server.weights, server.version) == (written, version)
    assert Path(written, "model.safetensors").stat().st_mtime_ns == modified


@pytest.mark.parametrize("settings", [{"lora": LoRA(r=2)}, {"weights": NoSync()}], ids=["adapter", "nothing"])
def test_a_server_whose_model_stays_keeps_it_in_the_cpus_memory(server: StandIn, make: Make, settings: dict[str, Any]):
    policy = make(sleep=True, **settings)
    draw(policy)
    before, adapters = len(server.paths()), dict(server.adapters)
    policy.engine.rest()
    draw(policy)
    checked = ["/v1/models"] if adapters else []
    assert since(server, before) == [*TO_SLEEP[1], *WAKE_WEIGHTS, *checked, *WAKE_CACHE, *checked * 2]
    assert server.adapters == adapters


def test_a_server_that_never_drew_or_may_not_sleep_stays_awake(server: StandIn, make: Make):
    make(sleep=True).engine.rest()
    policy = make()
    draw(policy)
    policy.engine.rest()
    assert not server.asleep
    assert not [path for path in server.paths() if path.startswith("/sleep")]


def test_a_server_that_was_restarted_while_it_slept_is_awake(server: StandIn, make: Make):
    policy = make(sleep=True)
    draw(policy)
    policy.engine.rest()
    server.start_anew()
    draw(policy)
    assert server.weights


def test_a_transfer_that_fails_after_the_weights_were_woken_is_repeated(server: StandIn, make: Make):
    policy = make(sleep=True)
    draw(policy)
    policy.engine.rest()
    answer, failures = server.answer, [(503, {})]

    def fail_once(path: str, body: Any) -> tuple[int, Any]:
        return failures.pop() if path == "/collective_rpc" and failures else answer(path, body)

    server.answer = fail_once  # type: ignore[method-assign]
    draw(policy)
    assert not failures
    assert not server.asleep
    assert server.weights


def test_a_server_without_sleep_mode_is_one_line_before_it_draws(server: StandIn, make: Make):
    server.sleep_mode = False  # vLLM answers its calls nevertheless, and frees nothing
    with pytest.raises(GFTRuntimeError, match=r"^`url` of VLLMEngine: expected a server with --enable-sleep-mode, .*"):
        draw(make(sleep=True))
    answer = server.answer
    server.answer = lambda path, body: (404, {}) if path.startswith("/server_info") else answer(path, body)  # type: ignore[method-assign]
    with pytest.raises(GFTRuntimeError, match=r"^`url` of .* it needs /server_info.*VLLM_SERVER_DEV_MODE=1"):
        draw(make(sleep=True))
    assert not server.bodies("/v1/completions")


def test_a_server_that_another_run_left_asleep_is_one_line(server: StandIn, make: Make):
    policy = make(sleep=True)
    draw(policy)
    policy.engine.rest()
    policy.engine.close()
    assert server.asleep
    with pytest.raises(GFTRuntimeError, match=r"^`url` of VLLMEngine: expected a server that is awake, .* got one"):
        draw(make())
    draw(make(sleep=True))
    assert not server.asleep


def sleeping(make: Make, folder: Path) -> Policy:
    """Make a policy whose server is a process of its own that may sleep."""
    command = [sys.executable, stand_in.__file__, "serve", "{model}", "--notes", str(folder)]
    return make(command=command, log=str(folder / "log"), start_timeout=300.0, sleep=True)


def test_a_server_that_died_asleep_is_restarted(make: Make, tmp_path: Path):
    policy = sleeping(make, tmp_path)
    draw(policy)
    policy.engine.rest()
    [note] = tmp_path.glob("start-*")
    pid = int(note.name.removeprefix("start-"))
    os.kill(pid, signal.SIGKILL)
    while policy.engine._connection._endpoint._own._server.alive():  # its guard notices a little later
        time.sleep(0.01)
    with pytest.warns(UserWarning, match="the server was restarted after it had ended between two draws"):
        draw(policy)
    server = policy.engine._connection._endpoint._own._server
    assert isinstance(server, ManagedServer)
    assert "--enable-sleep-mode" in server.command


def test_a_run_trains_while_its_server_sleeps(server: StandIn):
    slept: list[bool] = []

    class Watched(VLLMEngine):
        def weights_changed(self) -> None:  # after each optimizer step
            super().weights_changed()
            slept.append(bool(server.asleep))

    fit(module_with(Watched(url=server.url, max_logprob_difference=None, sleep=True), ahead=0), data())
    assert slept
    assert all(slept)


def test_a_server_that_sleeps_draws_nothing_ahead(server: StandIn):
    engine = VLLMEngine(url=server.url, sleep=True)
    module = module_with(engine, sources={"self": SelfSource(3, max_new_tokens=6, ahead=1)})
    with pytest.raises(ValueError, match="expected 0 with VLLMEngine, which cannot sample while the policy trains"):
        fit(module, data())
