"""Weights sharded over two ranks, or 4-bit ones not: rollouts, data types, guards, refusals."""

from __future__ import annotations

import re
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.optim import AdamW8bit
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import AdamW

from lightning_gft import (
    ContinuousCoefficientRectifier,
    Evaluation,
    FSDP2Strategy,
    GFTLoss,
    LoRA,
    Policy,
    PretrainedPolicy,
    Quantization,
    SamplingParams,
    SelfSource,
    TeacherSource,
    TokenBatch,
    WarmupSchedule,
)
from lightning_gft.checkpoint import weight_digests
from lightning_gft.distributed.sharding import FullySharded, transformer_blocks
from tests.distributed.launch import run_two_processes
from tests.module.runs import ROWS, Rows, fit, make_module, sgd, weights
from tests.tiny import tiny_loader, tiny_policy

PROMPTS = [[3, 4, 5], [6, 7]]
ROUNDED = "model.policy: trainable weights are in bfloat16, and step 2 with learning rate 5e-07"
GREEDY = SamplingParams(max_new_tokens=9, temperature=0.0)
QUANTISED = {"lora": LoRA(r=4), "torch_dtype": "bfloat16", "quantization": Quantization(storage_dtype="bfloat16")}

# What is like it on one process to rounding in single precision; the second figure is how far off weights may be.
ALIKE: dict[str, tuple[dict[str, Any], dict[str, Any], float]] = {
    "without-resharding": ({}, {"strategy": FSDP2Strategy(reshard_after_forward=False)}, 1e-5),
    "offloaded": ({}, {"strategy": FSDP2Strategy(cpu_offload=True)}, 1e-5),
    "mixed": ({}, {"precision": "bf16-mixed"}, 2e-2),
    "half": ({"torch_dtype": "bfloat16"}, {"precision": "bf16-true"}, 2e-2),
    "adapters": ({"lora": LoRA(r=4, use_dora=True)}, {}, 1e-5),
    "half-under-adapters": ({"lora": LoRA(r=4), "torch_dtype": "bfloat16"}, {"precision": "bf16-mixed"}, 1e-5),
    "4-bit-not-split": (
        {"lora": LoRA(r=4), "quantization": Quantization()},
        {"precision": "bf16-mixed", "strategy": "ddp"},
        1e-5,
    ),
    "4-bit-checkpointed": ({**QUANTISED, "gradient_checkpointing": True}, {"precision": "bf16-mixed"}, 1e-5),
}

SLOW = {"without-resharding", "half", "half-under-adapters", "4-bit-not-split"}
REFUSED = {
    "tensor-parallel": r"`tensor_parallel_size` of ModelParallelStrategy: expected 1, got 2; use fsdp2",
    "subclass": r"`trainer\.strategy`: expected auto, ddp or fsdp2, got Own; use lightning_gft\.FSDP2Strategy",
    "precision": r"`trainer\.precision`: expected 32-true, .* with FSDP2Strategy, got 64-true",
    "optimizer": r"`model\.optimizer`: expected one of torch's with sharded weights, got bitsandbytes\S*AdamW8bit",
    "weights": r"expected the same weights on every rank, .* on rank 1 for model\.\S+ and \d+ more",
    "rows": r"val data: expected a row for each of 2 ranks, got 1",
}


def train(rank: int, folder: str, case: str, ranks: int) -> tuple[dict[str, Tensor], list[str]]:
    """Return trained weights, and the names of those that are sharded."""
    loading, training, _ = ALIKE[case]
    sources = {"self": SelfSource(2, max_new_tokens=6, temperature=0.7), "teacher": TeacherSource(4)}
    evaluation = Evaluation(num_samples=2, max_new_tokens=4)
    # Each sequence runs by itself, so that half precision rounds alike; what is left moves no token over a threshold.
    loss, policy = GFTLoss(ContinuousCoefficientRectifier()), PretrainedPolicy(folder, **loading)
    module = make_module(loss, sources, policy, evaluation=evaluation, micro_batch_tokens=1)
    distributed = {"strategy": "fsdp2", "devices": 2} if ranks == 2 else {}
    own = {name: value for name, value in training.items() if ranks == 2 or name == "precision"}
    data = Rows(ROWS, ROWS[:3], batch_size=2 // ranks)
    fit(module, data, use_distributed_sampler=False, **{**distributed, **own})
    split = [name for name, weight in module.policy.model.named_parameters() if isinstance(weight, DTensor)]
    trained = {name for name, weight in module.policy.model.named_parameters() if weight.requires_grad}
    return {name: weight for name, weight in weights(module).items() if name in trained}, split


def draw(rank: int, keep_reference: bool) -> dict[str, Any]:
    """Return what a sharded policy draws, and where its weights were when."""
    mesh = torch.distributed.init_device_mesh("cpu", (2,))
    policy = tiny_policy(keep_reference=keep_reference)
    before = weight_digests(policy)
    models = [model for model in (policy.model, policy.reference_model) if model is not None]
    policy.sharding = FullySharded(policy, models, mesh)
    reference = None
    if policy.reference_model is not None:  # before the model that trains was ever run
        with policy.sharding.whole(policy.reference_model), torch.no_grad():
            reference = policy.reference_model(torch.tensor(PROMPTS[:1])).logits
    greedy = policy.generate(PROMPTS, 1, GREEDY, 0)
    policy.generate(PROMPTS, 3, SamplingParams(max_new_tokens=2 + 20 * rank), 0)  # one draws longer
    with policy.sharding.whole(*models):
        policy.generate(PROMPTS, 1, GREEDY, 0)
        whole = [not isinstance(weight, DTensor) for weight in policy.parameters()]
        if rank == 1:  # the other takes no part
            policy.generate(PROMPTS, 1, GREEDY, 0)
    return {
        "reference": reference,
        "greedy": [response.token_ids for (response,) in greedy],
        "whole_within": all(whole),
        "split_after": all(isinstance(weight, DTensor) for weight in policy.parameters()),
        "same_digests": weight_digests(policy) == before,
    }


class BreaksOnRank1(GFTLoss):
    """Gives one rank a gradient that is not finite, once."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def coefficients(self, tokens: TokenBatch) -> Tensor:
        self.calls += 1
        broken = self.calls == 1 and torch.distributed.get_rank() == 1
        return super().coefficients(tokens) * (torch.inf if broken else 1.0)


def skip(rank: int, strategy: str) -> tuple[dict[str, Tensor], int]:
    module = make_module(BreaksOnRank1(), gradient_clip_val=1.0)
    fit(module, Rows([ROWS[0], ROWS[1]], batch_size=1), strategy=strategy, devices=2, use_distributed_sampler=False)
    return weights(module), module.guard.nonfinite_updates


class Rates(Callback):
    """Remembers the learning rate after each step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])


def rounded_away(rank: int, folder: str, ranks: int) -> tuple[list[str], list[float]]:
    """Return what a run warns of whose updates are too small for its weights, and its learning rates."""
    policy, rates = PretrainedPolicy(folder, torch_dtype="bfloat16"), Rates()
    module = make_module(policy=policy, optimizer=partial(AdamW, lr=1e-6), lr_scheduler=WarmupSchedule("linear"))
    distributed = {"strategy": "fsdp2", "devices": 2} if ranks == 2 else {}
    data = Rows(ROWS, batch_size=2 // ranks)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(
            module,
            data,
            callbacks=[rates],
            max_epochs=1,
            precision="bf16-true",
            use_distributed_sampler=False,
            **distributed,
        )
    texts = [text for one in caught if "rounded away" in (text := str(one.message))]
    return texts, rates.seen


class Own(ModelParallelStrategy):
    """Somebody's own strategy."""


def refusal(policy: PretrainedPolicy, val_rows: int = 4, optimizer: Any = None, **arguments: Any) -> str:
    """Return what a run is refused with."""
    module = make_module(policy=policy, optimizer=optimizer or sgd())
    try:
        fit(module, Rows(ROWS, ROWS[:val_rows], batch_size=1), devices=2, use_distributed_sampler=False, **arguments)
    except ValueError as error:
        return str(error)
    return ""


def refusals(rank: int, folder: str) -> dict[str, str]:
    policy = PretrainedPolicy(folder)
    return {
        "tensor-parallel": refusal(policy, strategy=ModelParallelStrategy()),
        "subclass": refusal(policy, strategy=Own(data_parallel_size=2, tensor_parallel_size=1)),
        "precision": refusal(policy, strategy="fsdp2", precision="64-true"),
        "optimizer": refusal(policy, strategy="fsdp2", optimizer=partial(AdamW8bit, lr=1e-3)),
        "weights": refusal(PretrainedPolicy(folder if rank == 0 else f"{folder}/other"), strategy="fsdp2"),
        "rows": refusal(policy, val_rows=1, strategy="ddp"),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("model")
    for seed, where in enumerate((path, path / "other")):
        tiny_policy(seed=seed, hidden_size=64, intermediate_size=64, initializer_range=0.1).save_pretrained(where)
    return str(path)


@pytest.mark.parametrize("case", [pytest.param(case, marks=pytest.mark.slow if case in SLOW else ()) for case in ALIKE])
def test_options_and_data_types(case: str, folder: str):
    expected, _ = train(0, folder, case, 1)
    tolerance = ALIKE[case][2]
    for actual, split in run_two_processes(train, folder, case, 2):
        torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)
        assert set(split) >= set(actual) or (case == "4-bit-not-split" and not split)


@pytest.mark.parametrize("keep_reference", [False, True], ids=["", "with-reference"])
def test_weights_are_whole_for_a_rollout_and_given_back(keep_reference: bool):
    policy = tiny_policy()
    expected = [response.token_ids for (response,) in policy.generate(PROMPTS, 1, GREEDY, 0)]
    logits = policy.model(torch.tensor(PROMPTS[:1])).logits if keep_reference else None
    for drawn in run_two_processes(draw, keep_reference):
        torch.testing.assert_close(drawn["reference"], logits)
        assert drawn["greedy"] == expected
        assert drawn["whole_within"]
        assert drawn["split_after"]
        assert drawn["same_digests"]


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_all_ranks_skip_an_update_that_one_cannot_take(strategy: str):
    (first, skipped), (second, also_skipped) = run_two_processes(skip, strategy)
    assert skipped == also_skipped == 1
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    start = tiny_loader()
    torch.manual_seed(0)
    fresh = dict(start.load_model().named_parameters())
    assert all(torch.equal(weight, fresh[name]) for name, weight in first.items())


def test_updates_of_sharded_weights_are_measured_on_all_ranks(folder: str):
    (text,), expected = rounded_away(0, folder, 1)
    (texts, rates), (others, other_rates) = run_two_processes(rounded_away, folder, 2)
    assert [each.split(" changed ")[0] for each in (text, *texts, *others)] == [ROUNDED] * 2
    least, total = (int(each.split("% of ")[1].split()[0]) for each in (text, *texts))
    assert total == least  # each rank samples what it holds, together all of weights this small
    assert rates == other_rates == expected == [5e-7, 0.0]  # the schedule lasts as many steps on each


def test_what_cannot_be_is_refused(folder: str):
    for refused in run_two_processes(refusals, folder):
        for what, message in REFUSED.items():
            assert re.search(message, refused[what]), what


@pytest.mark.parametrize("model_type", ["qwen2", "gpt2", "gpt_neox", "gemma2", "mixtral"])
def test_blocks_are_found(model_type: str):
    policy: Policy = tiny_policy(model_type)
    policy.model._no_split_modules = None
    assert len(transformer_blocks(policy.model)) == 2
