"""Weights that go from memory to memory: every bit arrives, and a failure of either side ends the other's wait."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from safetensors.torch import load_file
from torch import Tensor
from torch.distributed import ProcessGroupGloo, TCPStore
from transformers import MixtralConfig, MixtralForCausalLM

from lightning_gft import LoRA, NCCLSync, Policy, VLLMEngine
from lightning_gft.errors import GFTRuntimeError
from lightning_gft.rollout.vllm.plain import plain_weights
from lightning_gft.rollout.vllm.transfer import TransferSync
from lightning_gft.rollout.vllm.transport import Transport, TransportError
from tests.conftest import quick
from tests.rollout.vllm.conftest import Make
from tests.rollout.vllm.receiver import Receiver, broadcast_options
from tests.rollout.vllm.test_weights import SAMPLING, draw, stir
from tests.tiny import tiny_loader

ROOT = Path(__file__).parents[3]
LONG = timedelta(seconds=300)


class GlooTransport(Transport):
    """A transport for machines without a GPU: rank 0 of a gloo group that the server finds by a port."""

    def __init__(self, world_size: int) -> None:
        self.device, self.world_size = torch.device("cpu"), world_size
        self.store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=LONG)
        self.group: ProcessGroupGloo | None = None

    def invitation(self) -> dict[str, Any]:
        return {"master_address": "127.0.0.1", "master_port": self.store.port}

    def join(self) -> None:
        self.group = ProcessGroupGloo(self.store, 0, self.world_size, LONG)
        self.broadcast(torch.zeros(1))

    def broadcast(self, tensor: Tensor) -> None:
        group = self.group
        if group is None:
            raise TransportError("aborted")
        try:
            group.broadcast([tensor], broadcast_options()).wait()
        except RuntimeError as error:
            raise TransportError(str(error)) from None

    def settle(self) -> None:
        pass

    def abort(self) -> None:
        self.group = None


class GlooSync(TransferSync):
    """``NCCLSync`` with another transport, which counts the groups."""

    opened = 0

    def open(self, world_size: int) -> Transport:
        self.opened += 1
        return GlooTransport(world_size)


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    """Yield a server at an address, in a thread."""
    serving = Receiver(tmp_path)
    threading.Thread(target=serving.serve_forever, args=(0.02,), daemon=True).start()
    yield serving
    serving.shutdown()
    serving.server_close()


def drawn_by_own(make: Make, notes: Path, sync: TransferSync, fails: str = "", **settings: Any) -> Policy:
    """Make a policy whose server is a process of its own."""
    command = [sys.executable, "-m", "tests.rollout.vllm.receiver", "serve", "{model}", "--notes", str(notes)]
    command += ["--fails", fails] if fails else []
    env = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    started = {"command": command, "env": env, "log": str(notes / "log"), "start_timeout": 600.0, "weights": sync}
    return make(**{"timeout": 300.0, **started, **settings})


def received(notes: Path) -> list[dict[str, Tensor]]:
    """Return the weights of each version that a server has received."""
    files = sorted(notes.glob("*.safetensors"), key=lambda file: int(file.stem.split("-")[1]))
    assert all(re.fullmatch("[0-9a-f]{8}-[0-9]+", file.stem) for file in files)
    return [load_file(file) for file in files]


def starts(notes: Path) -> int:
    return len(list(notes.glob("start-*")))


def check_equal(given: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert given.keys() == expected.keys()
    for name, weight in expected.items():
        assert given[name].dtype == weight.dtype
        assert torch.equal(given[name], weight), name


@pytest.mark.parametrize("torch_dtype", quick([None, "bfloat16"], None))
def test_another_process_receives_every_bit(make: Make, tmp_path: Path, torch_dtype: Any):
    sync = GlooSync(torch_dtype)
    policy = drawn_by_own(make, tmp_path, sync)
    expected = []
    for _ in range(2):
        draw(policy)
        state = {name: weight.clone() for name, weight in policy.model.state_dict().items()}
        expected.append({name: weight.to(torch_dtype and torch.bfloat16) for name, weight in state.items()})
        stir(policy)
    for given, wanted in zip(received(tmp_path), expected, strict=True):
        check_equal(given, wanted)
    assert not torch.equal(expected[0]["lm_head.weight"], expected[1]["lm_head.weight"])
    assert (sync.opened, starts(tmp_path)) == (1, 1)


@pytest.mark.parametrize("fails", quick(["refuses", "dies", "hangs"], "dies"))
def test_a_transfer_that_fails_is_repeated_in_a_new_group(make: Make, tmp_path: Path, fails: str):
    sync = GlooSync()
    policy = drawn_by_own(make, tmp_path, sync, fails, timeout=20.0 if fails == "hangs" else 300.0)
    if fails == "refuses":  # as vLLM does when it runs out of memory, and replies
        draw(policy)
    else:
        with pytest.warns(UserWarning, match="VLLMEngine: the server was restarted after (no |it had ended)"):
            draw(policy)
    [given] = received(tmp_path)
    check_equal(given, policy.model.state_dict())
    assert (sync.opened, starts(tmp_path)) == (2, 1 if fails == "refuses" else 2)


@pytest.mark.parametrize("options", [{}, {"use_rslora": True}, {"use_dora": True}])
def test_adapters_are_merged_on_the_way(receiver: Receiver, make: Make, tmp_path: Path, options: dict[str, bool]):
    policy = make(url=receiver.url, lora=LoRA(r=2, **options), weights=GlooSync())
    stir(policy)
    draw(policy)
    policy.save_plain(tmp_path / "plain")
    check_equal(receiver.received, load_file(tmp_path / "plain" / "model.safetensors"))


def test_an_adapter_with_a_bias_is_merged_into_the_bias_too():
    model = tiny_loader().load().model
    inject_adapter_in_model(LoraConfig(r=2, lora_bias=True, target_modules=["q_proj"]), model)
    layer = model.model.layers[0].self_attn.q_proj
    torch.nn.init.normal_(layer.lora_B["default"].bias)
    expected = layer.base_layer.bias + layer.lora_B["default"].bias * layer.scaling["default"]
    weights = plain_weights(SimpleNamespace(model=model, adapters=object()))
    torch.testing.assert_close(weights["model.layers.0.self_attn.q_proj.bias"].value(), expected)


def test_tied_weights_are_sent_under_both_names():
    policy = tiny_loader(tie_word_embeddings=True).load()
    weights = plain_weights(policy)
    assert weights["lm_head.weight"].value().equal(weights["model.embed_tokens.weight"].value())
    assert weights.keys() == policy.model.state_dict().keys()


def test_a_server_that_was_started_again_joins_again(receiver: Receiver, make: Make):
    sync = GlooSync()
    policy = make(url=receiver.url, weights=sync)
    before = policy.generate([[5, 6, 7]], 4, SAMPLING, 3)
    receiver.start_anew()
    receiver.group = None
    assert policy.generate([[5, 6, 7]], 4, SAMPLING, 3) == before
    assert sync.opened == 2
    stir(policy)
    draw(policy)
    assert sync.opened == 2


def test_weights_of_a_draw_ahead_cannot_be_sent_again(receiver: Receiver, make: Make):
    policy = make(url=receiver.url, weights=GlooSync())
    ahead = policy.generate_ahead([[5, 6, 7]], 2, SAMPLING, 3)
    assert len(ahead.responses()[0]) == 2
    receiver.start_anew()
    stir(policy)
    policy.engine._version -= 1  # the policy has other weights, and the draw those from before
    with pytest.raises(GFTRuntimeError, match="expected the weights that a draw ahead began with, got a server that w"):
        policy.engine.generate_ahead([[5, 6, 7]], 2, SAMPLING, [1, 2], policy.end)


def test_a_server_without_weight_transfer_says_what_it_needs(
    receiver: Receiver, make: Make, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("lightning_gft.rollout.vllm.transport._END_SECONDS", 0.2)  # nothing aborts the wait of gloo
    answer = receiver.answer
    refusal = 500, {"error": {"message": "Weight transfer not configured."}}
    receiver.answer = lambda path, body: refusal if path.startswith("/init") else answer(path, body)
    with pytest.raises(
        GFTRuntimeError, match=r"not configured\.; it needs the option --weight-transfer-config '{\"bac"
    ):
        draw(make(url=receiver.url, weights=GlooSync(), max_retries=0))


def test_a_malformed_number_of_processes_is_one_line(receiver: Receiver, make: Make):
    answer = receiver.answer
    receiver.answer = lambda path, body: (200, {}) if path == "/get_world_size" else answer(path, body)
    with pytest.raises(GFTRuntimeError, match="got a malformed number of processes at /get_world_size"):
        draw(make(url=receiver.url, weights=GlooSync()))


def test_an_error_of_this_process_ends_the_call(receiver: Receiver, make: Make, monkeypatch: pytest.MonkeyPatch):
    broadcast = GlooTransport.broadcast

    def fail(self: GlooTransport, tensor: Tensor) -> None:
        if tensor.dim() > 1:  # a weight, which the server waits for
            raise MemoryError("out of memory")
        broadcast(self, tensor)

    monkeypatch.setattr(GlooTransport, "broadcast", fail)
    with pytest.raises(MemoryError):
        draw(make(url=receiver.url, weights=GlooSync(), timeout=3600.0))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_nccl_needs_a_gpu():
    loader = tiny_loader()
    loader.rollout = VLLMEngine(url="http://localhost:9", weights=NCCLSync())
    with pytest.raises(
        ValueError, match=r"^`weights` of VLLMEngine: expected ReloadSync or AdapterSync for a machine "
    ):
        loader.load()


def test_policies_whose_weights_cannot_be_sent_so_are_refused(make: Make):
    with pytest.raises(ValueError, match="expected ReloadSync for adapters with modules_to_save, got GlooSync"):
        make(lora=LoRA(r=2, modules_to_save=["lm_head"]), weights=GlooSync())
    with pytest.raises(ValueError, match="expected ReloadSync or AdapterSync for a server that sleeps, got GlooSync"):
        make(weights=GlooSync(), sleep=True)
    policy = tiny_loader().load()
    shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    policy.model = MixtralForCausalLM(MixtralConfig(**shape, num_key_value_heads=2, vocab_size=8, num_local_experts=2))
    with pytest.raises(ValueError, match="for MixtralForCausalLM, whose files name 7 weights differently than"):
        GlooSync().check(policy)
