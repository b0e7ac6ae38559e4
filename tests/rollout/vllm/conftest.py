"""Fixtures of a policy that draws from a stand-in server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lightning_gft import LoRA, Policy, VLLMEngine
from tests.rollout.vllm.stand_in import StandIn
from tests.tiny import tiny_loader

Make = Callable[..., Policy]


@pytest.fixture
def server() -> Iterator[StandIn]:
    serving = StandIn()
    threading.Thread(target=serving.serve_forever, args=(0.02,), daemon=True).start()
    yield serving
    serving.shutdown()
    serving.server_close()


@pytest.fixture
def make(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Yield a function that makes a policy with this server; log-probabilities are not compared by default."""
    monkeypatch.setattr("lightning_gft.rollout.vllm.connection._FIRST_WAIT", 0.01)
    monkeypatch.setattr("lightning_gft.rollout.vllm.connection._POLL", 0.02)
    monkeypatch.setattr("lightning_gft.rollout.vllm.server._INTERVAL", 0.02)
    engines: list[VLLMEngine] = []

    def made(lora: LoRA | None = None, keep_reference: bool = False, **settings: Any) -> Policy:
        own = {"max_logprob_difference": None, "timeout": 60.0, **settings}
        engine = VLLMEngine(**own if "command" in own else {"url": server.url, **own})
        engines.append(engine)
        loader = tiny_loader()
        loader.rollout, loader.lora = engine, lora
        return loader.load(keep_reference)

    yield made
    for engine in engines:
        engine.close()
