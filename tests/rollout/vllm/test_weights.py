"""A server receives the weights of a policy once after each change, and other weights are noticed."""

from __future__ import annotations

import copy
import json
import re
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from lightning_gft import (
    AdapterSync,
    LoRA,
    NoSync,
    Policy,
    PretrainedPolicy,
    ReloadSync,
    SamplingParams,
    VLLMEngine,
    WeightSync,
)
from lightning_gft.errors import GFTRuntimeError
from tests.rollout.vllm import stand_in
from tests.rollout.vllm.conftest import Make
from tests.rollout.vllm.stand_in import StandIn
from tests.tiny import tiny_loader

SAMPLING = SamplingParams(max_new_tokens=6)


def draw(policy: Policy, seed: int = 1) -> None:
    policy.generate([[5, 6, 7], [8, 9]], 2, SAMPLING, seed)


def stir(policy: Policy) -> None:
    with torch.no_grad():
        for weight in policy.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.1)
    policy.weights_changed()


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=torch.tensor([[5, 6, 7, 8]])).logits


def test_weights_are_sent_when_they_are_first_needed_and_once(server: StandIn, make: Make, tmp_path: Path):
    policy = make(weights=ReloadSync(str(tmp_path)))
    assert server.paths() == []
    draw(policy)
    sent = ["/collective_rpc", "/reset_prefix_cache", "/update_weight_version"]
    checked = ["/weight_info"] * 2  # before and after a draw
    assert server.paths() == ["/v1/models", "/tokenize", "/is_sleeping", *sent, *checked]
    first = server.weights
    draw(policy)
    assert server.paths()[8:] == checked
    stir(policy)
    stir(policy)
    draw(policy)
    assert server.paths()[10:] == [*sent, *checked]
    assert server.weights != first
    assert re.fullmatch("[0-9a-f]{8}-2", server.version)


def test_what_a_server_loads_is_the_policy(server: StandIn, make: Make, tmp_path: Path):
    policy = make(weights=ReloadSync(str(tmp_path)))
    for _ in range(2):
        draw(policy)
        loaded = AutoModelForCausalLM.from_pretrained(server.weights)
        assert torch.equal(logits(loaded), logits(policy.model))
        assert AutoTokenizer.from_pretrained(server.weights).encode("1+1") == policy.tokenizer.encode("1+1")
        stir(policy)
    [own] = tmp_path.iterdir()
    assert len(list(own.glob("[!.]*"))) == 2, "the folder contains only the last version, and a link to it"
    policy.engine.close()
    assert not list(tmp_path.iterdir())


def test_written_weights_do_not_outlive_an_engine_that_nothing_closes(tmp_path: Path):
    sync = ReloadSync(str(tmp_path))
    sync.write(tiny_loader().load(), "a-1")
    copied = copy.deepcopy(sync)
    [folder] = tmp_path.iterdir()
    copied.close()
    assert folder.is_dir(), "a copy has a folder of its own"
    with pytest.warns(ResourceWarning, match="Implicitly cleaning up"):
        del sync
    assert not folder.exists()


@pytest.mark.parametrize("torch_dtype", [None, "bfloat16"])
def test_tied_weights_are_written_one_by_one(tmp_path: Path, torch_dtype: str | None):
    policy = tiny_loader(tie_word_embeddings=True).load()
    policy.save_plain(tmp_path, torch_dtype)
    written = load_file(tmp_path / "model.safetensors")
    assert written["lm_head.weight"].equal(written["model.embed_tokens.weight"])
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert not loaded.config.tie_word_embeddings
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == (torch_dtype or "float32")
    assert loaded.lm_head.weight is not loaded.model.embed_tokens.weight
    assert policy.model.config.tie_word_embeddings
    expected = logits(policy.model)
    torch.testing.assert_close(logits(loaded), expected, rtol=0, atol=0.2 if torch_dtype else 0)


def test_adapters_are_merged_into_what_is_reloaded(server: StandIn, make: Make, tmp_path: Path):
    policy = make(lora=LoRA(r=2), weights=ReloadSync(str(tmp_path)))
    stir(policy)
    draw(policy)
    loaded = AutoModelForCausalLM.from_pretrained(server.weights)
    torch.testing.assert_close(logits(loaded), logits(policy.model), atol=1e-4, rtol=1e-4)
    assert policy.adapters is not None, "the policy keeps its adapters"


def test_adapters_are_loaded_under_a_new_name_each_time(server: StandIn, make: Make, tmp_path: Path):
    policy = make(lora=LoRA(r=2))  # the default for a policy with adapters
    draw(policy)
    [(first, folder)] = server.adapters.items()
    stir(policy)
    draw(policy)
    [(second, _)] = server.adapters.items()
    assert first != second
    assert not Path(folder).exists()
    assert {body["model"] for body in server.bodies("/v1/completions")[-4:]} == {second}
    own = logits(policy.model)
    with policy.adapters.with_adapter(server.adapters[second]):  # type: ignore[union-attr]
        assert torch.equal(logits(policy.model), own)


@pytest.mark.parametrize("lora", [None, LoRA(r=2)], ids=["reload", "adapter"])
def test_a_server_that_was_started_again_gets_the_weights_again(server: StandIn, make: Make, lora: LoRA | None):
    policy = make(lora=lora)
    before = policy.generate([[5, 6, 7]], 4, SAMPLING, 3)
    server.start_anew()
    assert policy.generate([[5, 6, 7]], 4, SAMPLING, 3) == before
    assert server.adapters if lora else server.version != "default"
    assert policy.engine.compute()["retries"] == 4


def test_weights_that_another_run_has_sent_are_not_drawn_from(server: StandIn, make: Make):
    first, second = make(), make()
    draw(first)
    draw(second)
    version = server.version
    draw(first)
    assert server.version != version


def test_copies_of_an_engine_share_a_server_but_no_versions(server: StandIn, make: Make):
    policy = make()
    draw(policy)
    version = server.version
    copied = copy.deepcopy(policy.engine)
    with pytest.raises(GFTRuntimeError, match="`prepare` of VLLMEngine: expected a call before generate"):
        copied.generate(policy.model, [[5]], 1, SAMPLING, [1], policy.end)
    copied.prepare(policy)
    assert server.version != version
    assert Path(server.weights).is_dir()
    draw(policy)
    assert server.version == version
    copied.close()


def test_without_updates_a_policy_does_not_train(server: StandIn, make: Make):
    policy = make(weights=NoSync())
    policy.weights_changed()  # a checkpoint, say
    draw(policy)
    assert server.paths() == ["/v1/models", "/tokenize", "/is_sleeping"]
    stir(policy)
    with pytest.raises(GFTRuntimeError, match="`weights` of VLLMEngine: expected ReloadSync or AdapterSync"):
        draw(policy)


def test_a_server_with_weights_of_its_own_is_started_with_the_policys_model(tmp_path: Path):
    folder = str(tmp_path / "exported")
    tiny_loader().load().save_pretrained(folder)
    (tmp_path / "notes").mkdir()
    command = [sys.executable, stand_in.__file__, "serve", "{model}", "--notes", str(tmp_path / "notes")]
    settings = {"command": command, "env": {"VLLM_SERVER_DEV_MODE": "1"}, "max_logprob_difference": None}
    engine = VLLMEngine(**settings, weights=NoSync(), log=str(tmp_path / "log"), start_timeout=300.0)
    draw(PretrainedPolicy(folder, rollout=engine).load())
    assert engine.compute()["tokens"] > 0
    engine.close()
    scratch = VLLMEngine(**settings, weights=NoSync(), log=str(tmp_path / "log"))
    loader = tiny_loader()
    loader.rollout = scratch
    with pytest.raises(ValueError, match="with `command` for a policy that was not loaded from files, got NoSync"):
        draw(loader.load())


def test_references_are_drawn_in_place(server: StandIn, make: Make):
    policy = make(keep_reference=True)
    draw(policy)
    sent = server.paths()
    with policy.as_loaded():
        [[one]] = policy.generate([[5, 6]], 1, SAMPLING, 1)
    assert one.weights_version is None
    draw(policy)
    assert server.paths() == [*sent, "/weight_info", "/weight_info"]


@pytest.mark.parametrize("sync", [ReloadSync, AdapterSync])
def test_a_folder_that_cannot_be_written_to_is_one_line_before_the_first_draw(make: Make, sync: type[WeightSync]):
    name = sync.__name__
    with pytest.raises(ValueError, match=f"^`folder` of {name}: expected a folder that can be written to, got /dev/nu"):
        make(lora=LoRA(r=2), weights=sync(folder="/dev/null/weights"))


def test_weights_that_cannot_be_sent_so_are_refused_at_once(make: Make):
    with pytest.raises(ValueError, match="expected ReloadSync for a policy without adapters, got AdapterSync"):
        make(weights=AdapterSync())
    with pytest.raises(
        ValueError, match="expected ReloadSync for adapters with use_dora, which vLLM does not support, got"
    ):
        make(lora=LoRA(r=2, use_dora=True), weights=AdapterSync())


def test_a_server_that_cannot_take_weights_says_what_it_needs(server: StandIn, make: Make):
    answer = server.answer
    server.answer = lambda path, body: (404, {}) if path == "/collective_rpc" else answer(path, body)
    with pytest.raises(GFTRuntimeError, match=r"it needs /collective_rpc .*VLLM_SERVER_DEV_MODE=1"):
        draw(make())
