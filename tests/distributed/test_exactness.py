"""Two processes train as one does, whether each has all weights (DDP) or a part of each (FSDP2)."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import AdamW

from lightning_gft import Evaluation, ExpertSource, GFTLoss, LoRA, SelfSource, SFTLoss, TeacherSource
from tests.distributed.launch import run_two_processes
from tests.module.runs import ROWS, Passes, Rows, double_loader, fit, fresh_weights, make_module, weights

LIMIT = 150.0
STRATEGIES = ["ddp", "fsdp2"]

# Without shuffling, two processes take turns at the rows: the first gets the even ones, the second the odd ones.
MIXED, ALL_EQUAL = ROWS[0], ROWS[2]
LONG = {**ROWS[1], "teacher": [3 * answer for answer in ROWS[1]["teacher"]]}
RAGGED = {**ROWS[3], "teacher": ROWS[3]["teacher"][:2]}
DATA: dict[str, list[Any]] = {
    "as-it-comes": [ROWS[0], ROWS[1], RAGGED, ROWS[0]],
    "uneven": [LONG, MIXED, LONG, ALL_EQUAL],
    "first-has-nothing": [ALL_EQUAL, MIXED, ALL_EQUAL, LONG],
    "second-has-nothing": [MIXED, ALL_EQUAL, LONG, ALL_EQUAL],
    "nobody-has-anything": [ALL_EQUAL] * 4,
}
STEPS = 10
REDUCTIONS = ["sequence-mean", "group-mean"]
UNTIED = {"tie_word_embeddings": False}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in DATA},
    "in-pieces": ("uneven", {"micro_batch_tokens": 12}),
    **{reduction: ("uneven", {"reduction": reduction}) for reduction in REDUCTIONS},
    "sft": ("uneven", {"sft": True}),
    "clipped": ("uneven", {"gradient_clip_val": 0.01}),
    "several-updates": ("uneven", {"updates_per_batch": 3}),
    "adam": ("uneven", {"optimizer": partial(AdamW, lr=1e-4)}),
    "untied": ("uneven", {"config": UNTIED}),
    "adapters": ("uneven", {"lora": LoRA(r=4)}),
    "adapters-untied": ("uneven", {"lora": LoRA(r=4, modules_to_save=["lm_head"]), "config": UNTIED}),
    "adapters-tied": ("uneven", {"lora": LoRA(r=4, modules_to_save=["lm_head"])}),
    "own-samples": (
        "as-it-comes",
        {"sources": {"self": SelfSource(4, max_new_tokens=12), "expert": ExpertSource(), "some": TeacherSource(1)}},
    ),
}
SAME_FIGURES = (
    *("loss", "grad_norm", "reward", "reward_std", "rewards/score/mean", "frac_reward_zero_std", "num_tokens"),
    *("entropy", "negative/token_fraction", "rectified_fraction", "coefficient_mean"),
)

Result = tuple[dict[str, Tensor], dict[str, float]]


def train(case: str, strategy: str | None = None) -> Result:
    """Return weights and figures after steps of four prompts each, over all processes, and a last one of two."""
    name, settings = CASES[case]
    settings = {"micro_batch_tokens": 40, **settings}
    reduction = settings.pop("reduction", "token-mean")
    loss = SFTLoss(reduction) if settings.pop("sft", False) else GFTLoss(reduction=reduction)
    policy = double_loader(**settings.pop("config", {}))
    policy.lora = settings.pop("lora", None)
    evaluation = Evaluation(num_samples=2, max_new_tokens=6, kl=name == "as-it-comes")
    module = make_module(loss, policy=policy, evaluation=evaluation, **settings)
    processes = 1 if strategy is None else 2
    distributed = {} if strategy is None else {"strategy": strategy, "devices": 2}
    data = Rows(DATA[name] * STEPS + DATA[name][:2], ROWS[:3], batch_size=4 // processes)
    trainer = fit(module, data, use_distributed_sampler=False, **distributed)
    assert trainer.global_step == (STEPS + 1) * module.updates_per_batch
    logged = trainer.logged_metrics
    figures = {key: logged[f"train/{key}"].item() for key in SAME_FIGURES}
    return weights(module), figures | {key: value.item() for key, value in logged.items() if key.startswith("val/")}


def draw() -> list[str]:
    """Return the first group of this process."""
    module = make_module(sources={"self": SelfSource(4, max_new_tokens=12), "expert": ExpertSource()})
    fit(module, Rows([MIXED, MIXED], batch_size=1), strategy="ddp", devices=2, use_distributed_sampler=False)
    return module.sampler.made[0].responses


def on_rank(rank: int) -> tuple[dict[tuple[str, str], Result], list[str]]:
    return {(case, strategy): train(case, strategy) for strategy in STRATEGIES for case in CASES}, draw()


@pytest.fixture(scope="module")
def ranks() -> list[tuple[dict[tuple[str, str], Result], list[str]]]:
    return run_two_processes(on_rank, limit=LIMIT)


@pytest.fixture(scope="module")
def alone() -> dict[str, Result]:
    return {case: train(case) for case in CASES}


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_as_one(case: str, strategy: str, ranks: Any, alone: dict[str, Result]):
    expected_weights, expected_figures = alone[case]
    for results, _ in ranks:
        actual_weights, figures = results[case, strategy]
        torch.testing.assert_close(actual_weights, expected_weights, rtol=0, atol=1e-9)
        assert figures == pytest.approx(expected_figures, rel=1e-6)


def test_processes_draw_differently(ranks: Any):
    (_, first), (_, second) = ranks
    assert first[4] == second[4] == "2"  # the expert's
    assert first[:4] != second[:4]


def passes_a_step(rows: list[Any]) -> int:
    passes = Passes()
    fit(make_module(micro_batch_tokens=40), Rows(rows), callbacks=[passes])
    return len(passes.sizes)


def test_the_cases_are_what_they_are_called(alone: dict[str, Result]):
    long, short, none = (passes_a_step(rows) for rows in (DATA["uneven"][::2], DATA["uneven"][1::2], [ALL_EQUAL] * 2))
    assert long > short > none == 1
    start = fresh_weights(make_module(policy=double_loader()))
    for case, moves in (("uneven", True), ("nobody-has-anything", False)):
        trained, _ = alone[case]
        assert any(not torch.equal(value, start[name]) for name, value in trained.items()) == moves
