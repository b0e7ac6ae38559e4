"""Weights that lie end to end and in pieces on two processes (FSDP1) train, are drawn from and saved as on one.

Lightning keeps its own FSDPStrategy from CPUs; on them the strategy that it becomes is given.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.precision.fsdp import FSDPPrecision
from lightning.pytorch.strategies import FSDPStrategy
from torch import Tensor, nn
from torch.optim import AdamW
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.models.gpt2.modeling_gpt2 import GPT2MLP

from lightning_gft import (
    Evaluation,
    ExpertSource,
    GFTLoss,
    LoRA,
    PretrainedPolicy,
    SamplingParams,
    ScratchPolicy,
    SelfSource,
    TeacherSource,
)
from lightning_gft.callbacks import HuggingFaceExport
from lightning_gft.policy import FlatSharded
from lightning_gft.strategies import check_strategy
from lightning_gft.strategies.fsdp1 import FSDP1Strategy
from tests.conftest import tiny_loader, tiny_policy
from tests.distributed.launch import run_two_processes
from tests.module.runs import ROWS, Rows, double_loader, fit, make_module, weights

MIXED, ALL_EQUAL = ROWS[0], ROWS[2]
LONG = {**ROWS[1], "teacher": [3 * answer for answer in ROWS[1]["teacher"]]}
UNEVEN = [LONG, MIXED, LONG, ALL_EQUAL] * 2  # of each two, one process gets the first, and more to do
ADAMW = {"optimizer": partial(AdamW, lr=1e-3), "gradient_clip_val": 0.01}
UNTIED = {"tie_word_embeddings": False}
PROMPTS = [[3, 4, 5], [6, 7]]
GREEDY = SamplingParams(max_new_tokens=9, temperature=0.0)


class NeedsReference(GFTLoss):
    """Looks at the reference first of all, before the model that trains was ever run."""

    needs_ref_logprobs = True


OWN_SAMPLES = {"self": SelfSource(2, max_new_tokens=8), "expert": ExpertSource(), "some": TeacherSource(2)}

CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "tied": (ADAMW, {}),
    "untied": ({"config": UNTIED, "loss": NeedsReference()}, {"sharding_strategy": "SHARD_GRAD_OP"}),
    "own-samples": ({"sources": OWN_SAMPLES}, {"auto_wrap_policy": {GPT2MLP}}),
    "adapters-and-head": (
        {**ADAMW, "lora": LoRA(r=4, modules_to_save=["lm_head"]), "config": UNTIED, "loss": NeedsReference()},
        {},
    ),
}
RESUMED = ["adapters-and-head"]
SAVED_AFTER = 2
EXPORTED = {"whole": None, "merged": LoRA(r=4)}
HALF = {
    "mixed": ({}, "bf16-mixed"),
    "half-under-adapters": ({"lora": LoRA(r=4), "torch_dtype": "bfloat16"}, "bf16-mixed"),
}


class Precision(FSDPPrecision):
    """Lightning's, but weights in double precision stay in it, and autocast is that of CPUs."""

    def convert_module(self, module: nn.Module) -> nn.Module:
        return module if self.precision == "32-true" else super().convert_module(module)

    def forward_context(self) -> AbstractContextManager[Any]:
        mixed = self.precision == "bf16-mixed"
        return torch.autocast("cpu", dtype=torch.bfloat16) if mixed else super().forward_context()


def run(module: Any, data: list[Any], processes: int, settings: dict[str, Any], precision: Any, **more: Any) -> Any:
    """Return what a run has logged, and the weights after it."""
    own: dict[str, Any] = {"precision": precision}
    if processes == 2:
        own = {"strategy": FSDP1Strategy(**settings), "devices": 2, "plugins": [Precision(precision)]}
    rows = Rows(data, ROWS[:3], batch_size=2 // processes)
    logged = fit(module, rows, use_distributed_sampler=False, **own, **more).callback_metrics
    untimed = {name: value.item() for name, value in logged.items() if "second" not in name and name != "tokens/s"}
    with module.policy.sharding.readable():
        return weights(module), untimed


def train(case: str, processes: int, **more: Any) -> tuple[dict[str, Tensor], dict[str, float]]:
    training, settings = CASES[case]
    policy = double_loader(**training.get("config", {}))
    policy.lora = training.get("lora")
    evaluation = Evaluation(num_samples=2, max_new_tokens=4, kl=case == "own-samples")
    chosen = {name: value for name, value in training.items() if name not in ("config", "lora")}
    module = make_module(policy=policy, evaluation=evaluation, micro_batch_tokens=40, **chosen)
    return run(module, UNEVEN, processes, settings, "32-true", **more)


def half(case: str, folder: str, processes: int) -> dict[str, Tensor]:
    loading, precision = HALF[case]
    # Each sequence runs by itself, so that half precision rounds alike.
    module = make_module(policy=PretrainedPolicy(folder, **loading), micro_batch_tokens=1)
    return run(module, ROWS, processes, {}, precision)[0]


def saving(path: str) -> dict[str, Any]:
    file = Path(path)
    callback = ModelCheckpoint(file.parent, file.stem, every_n_train_steps=SAVED_AFTER, enable_version_counter=False)
    return {"callbacks": [callback], "enable_checkpointing": True, "max_steps": SAVED_AFTER}


def draw(rank: int) -> list[list[int]]:
    """Return what a split policy draws greedily, while one process draws more than the other."""
    policy = tiny_policy(keep_reference=True)
    models = [policy.model, policy.reference_model]
    policy.sharding = FlatSharded(models, device_id=torch.device("cpu"))
    policy.generate(PROMPTS, 3, SamplingParams(max_new_tokens=2 + 20 * rank), 0)
    with policy.sharding.whole(*models):
        for _ in range(rank):  # no other process takes part
            policy.generate(PROMPTS, 1, GREEDY, 0)
    return [response.token_ids for (response,) in policy.generate(PROMPTS, 1, GREEDY, 0)]


def on_rank(rank: int, folder: str) -> dict[str, Any]:
    results: dict[str, Any] = {"trained": {case: train(case, 2) for case in CASES}, "drawn": draw(rank)}
    results["half"] = {case: half(case, folder, 2) for case in HALF}
    for name, lora in EXPORTED.items():
        module = make_module(policy=PretrainedPolicy(folder, lora=lora))
        callbacks = [HuggingFaceExport(f"{folder}/exported-{name}", merge=lora is not None)]
        results["exported", name] = run(module, ROWS, 2, {}, "32-true", callbacks=callbacks)[0]
    results["resumed"] = {}
    for case in RESUMED:
        train(case, 2, **saving(f"{folder}/{case}-two.ckpt"))
        for source in ("one", "two"):
            resumed = train(case, 2, ckpt_path=f"{folder}/{case}-{source}.ckpt")
            results["resumed"][case, source] = resumed[0]
    return results


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("model")
    tiny_policy(initializer_range=0.1).save_pretrained(path)
    for case in RESUMED:
        train(case, 1, **saving(f"{path}/{case}-one.ckpt"))
    return str(path)


@pytest.fixture(scope="module")
def ranks(folder: str) -> list[dict[str, Any]]:
    return run_two_processes(on_rank, folder)


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    return {case: train(case, 1) for case in CASES}


@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_as_one(case: str, ranks: Any, alone: Any):
    expected_weights, expected_figures = alone[case]
    for rank in ranks:
        actual_weights, figures = rank["trained"][case]
        torch.testing.assert_close(actual_weights, expected_weights, rtol=0, atol=1e-9)
        assert figures == pytest.approx(expected_figures, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("case", HALF)
def test_data_types(case: str, folder: str, ranks: Any):
    expected = half(case, folder, 1)
    for rank in ranks:
        torch.testing.assert_close(rank["half"][case], expected, rtol=0, atol=2e-2)


def test_greedy_responses_are_those_of_one_process(ranks: Any):
    expected = [response.token_ids for (response,) in tiny_policy().generate(PROMPTS, 1, GREEDY, 0)]
    assert all(rank["drawn"] == expected for rank in ranks)


@pytest.mark.parametrize("case", RESUMED)
def test_a_checkpoint_is_that_of_one_process(case: str, folder: str, ranks: Any, alone: Any):
    expected, _ = alone[case]
    for rank in ranks:
        for source in ("one", "two"):
            torch.testing.assert_close(rank["resumed"][case, source], expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(train(case, 1, ckpt_path=f"{folder}/{case}-two.ckpt")[0], expected, rtol=0, atol=1e-9)
    one, two = (torch.load(f"{folder}/{case}-{name}.ckpt", weights_only=True) for name in ("one", "two"))
    for key in ("state_dict", "optimizer_states"):
        torch.testing.assert_close(two[key], one[key], rtol=0, atol=1e-9)


def test_exported_policies_are_whole(folder: str, ranks: Any):
    name = "model.layers.0.mlp.up_proj"
    base, whole, merged = (
        AutoModelForCausalLM.from_pretrained(path)
        for path in (folder, f"{folder}/exported-whole", f"{folder}/exported-merged")
    )
    torch.testing.assert_close(dict(whole.named_parameters()), ranks[0]["exported", "whole"], rtol=0, atol=0)
    a, b = (ranks[0]["exported", "merged"][f"{name}.lora_{side}.default.weight"] for side in "AB")
    expected = base.get_submodule(name).weight + (32 / 4) * b @ a
    torch.testing.assert_close(merged.get_submodule(name).weight, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"state_dict_type": "sharded"}, r"with state_dict_type='sharded' is not supported: .*use fsdp2"),
        ({"cpu_offload": True}, r"with cpu_offload is not supported: .*FSDP2Strategy, with cpu_offload: true"),
        ({"use_orig_params": False}, r"with use_orig_params=False is not supported: leave it out"),
        (
            {"activation_checkpointing_policy": {GPT2MLP}},
            r"with activation_checkpointing_policy is not supported: use the policy's gradient",
        ),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=r"trainer\.strategy=FSDPStrategy " + message):
        check_strategy(FSDPStrategy(**settings), "32-true")


def test_lightnings_strategy_becomes_this_packages():
    strategy = FSDPStrategy()
    check_strategy(strategy, "bf16-mixed")
    assert type(strategy) is FSDP1Strategy
    with pytest.raises(ValueError, match=r"it is a subclass; use fsdp, or fsdp2"):
        check_strategy(type("Own", (FSDPStrategy,), {})(), "32-true")


class OneHalf(ScratchPolicy):
    """A policy whose last norm is in half precision."""

    def load_model(self) -> PreTrainedModel:
        model = super().load_model()
        model.get_decoder().norm.bfloat16()
        return model


@pytest.fixture
def _ends_group() -> Iterator[None]:
    environment = dict(os.environ)
    yield
    torch.distributed.destroy_process_group()
    os.environ.clear()  # of what Lightning has put there for processes that it might start
    os.environ.update(environment)


@pytest.mark.usefixtures("_ends_group")
@pytest.mark.parametrize(
    ("kind", "lora", "message"),
    [
        (ScratchPolicy, LoRA(use_dora=True), r"lora\.use_dora does not go with fsdp.*use fsdp2"),
        (OneHalf, None, r"fsdp puts weights of one data type end to end.*torch_dtype to float32, or .*fsdp2"),
    ],
)
def test_weights_that_cannot_be_split(kind: type, lora: LoRA | None, message: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    policy = tiny_loader()
    policy.__class__ = kind
    policy.lora = lora
    with pytest.raises(ValueError, match=message):
        fit(make_module(policy=policy), strategy=FSDP1Strategy(), devices=1, plugins=[Precision("bf16-mixed")])
