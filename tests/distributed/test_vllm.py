"""Ranks that draw their shares from one server, to which the first rank sends the weights."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load

from lightning_gft import LoRA, SelfSource, VLLMEngine
from tests.distributed.launch import run_two_processes
from tests.module.runs import ROWS, Rows, fit, make_module
from tests.rollout.vllm.receiver import Receiver
from tests.rollout.vllm.stand_in import Body, StandIn
from tests.rollout.vllm.test_transfer import GlooSync
from tests.tiny import tiny_loader
from tests.training.test_exchange import Recorder


class Keeping(StandIn):
    """Keeps the weights that it received, because their files may be removed later."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[dict[str, torch.Tensor]] = []

    def answer(self, path: str, body: Any) -> tuple[int, Any]:
        answer = super().answer(path, body)
        if path in ("/collective_rpc", "/v1/load_lora_adapter"):
            [file] = Path(self.weights or body["lora_path"]).glob("*.safetensors")
            self.sent.append(load(file.read_bytes()))
        return answer


@contextmanager
def keeping() -> Any:
    server = Keeping()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()


def fit_on_a_rank(
    rank: int, url: str, strategy: str, lora: LoRA | None, devices: int = 2, **engine: Any
) -> list[float]:
    recorder = Recorder()
    loader = tiny_loader()
    loader.rollout, loader.lora = VLLMEngine(url=url, max_logprob_difference=None, **engine), lora
    module = make_module(sources={"self": SelfSource(2, max_new_tokens=6)}, policy=loader)
    settings = {"strategy": strategy, "devices": devices} if devices > 1 else {}
    fit(module, Rows(ROWS * 2, batch_size=4 // devices), logger=recorder, log_every_n_steps=1, **settings)
    return [row["train/engine/syncs"] for row in recorder.rows if "train/loss" in row]


def asked(server: StandIn) -> Counter[Any]:
    bodies: list[Body] = server.bodies("/v1/completions")
    return Counter((tuple(body["prompt"]), body["seed"]) for body in bodies)


@pytest.mark.parametrize(
    ("strategy", "lora"),
    [
        pytest.param("ddp", None, id="ddp", marks=pytest.mark.slow),
        pytest.param("fsdp2", None, id="fsdp2"),
        pytest.param("fsdp2", LoRA(r=2), id="fsdp2-adapter"),
    ],
)
def test_two_ranks_are_one(strategy: str, lora: LoRA | None):
    with keeping() as alone, keeping() as shared:
        assert fit_on_a_rank(0, alone.url, "auto", lora, devices=1) == [1, 1]
        syncs, _ = run_two_processes(fit_on_a_rank, shared.url, strategy, lora)
        assert syncs == [1, 1], "one rank sends, once a step"
        assert asked(shared) == asked(alone)
        assert set(asked(shared).values()) == {1}
        assert len(shared.sent) == len(alone.sent) == 2
        for ours, theirs in zip(shared.sent, alone.sent, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
        first, second = alone.sent
        assert any(not torch.equal(first[name], second[name]) for name in first), "the policy has trained"


def fit_asleep(rank: int, url: str) -> list[float]:
    return fit_on_a_rank(rank, url, "ddp", None, sleep=True)


def fit_sending(rank: int, url: str) -> list[float]:
    return fit_on_a_rank(rank, url, "fsdp2", None, weights=GlooSync())


@pytest.mark.slow
def test_a_server_sleeps_when_no_rank_draws():
    with keeping() as server:  # which draws nothing while it sleeps
        syncs, _ = run_two_processes(fit_asleep, server.url)
        assert syncs == [1, 1]
        assert server.paths().count("/sleep?level=2") == 2
        assert server.asleep


@pytest.mark.slow
def test_a_sharded_policy_sends_whole_weights_to_a_servers_memory(tmp_path: Path):
    receiver = Receiver(tmp_path)
    threading.Thread(target=receiver.serve_forever, args=(0.02,), daemon=True).start()
    with keeping() as alone:
        fit_on_a_rank(0, alone.url, "auto", None, devices=1)
        syncs, _ = run_two_processes(fit_sending, receiver.url)
        assert syncs == [1, 1]
        torch.testing.assert_close(receiver.received, alone.sent[-1], atol=1e-5, rtol=1e-5)
    receiver.shutdown()
