"""Two processes train as one does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_gft import ExpertSource, GFTLoss, LoRA, SelfSource, SFTLoss
from tests.distributed.launch import run_two_processes
from tests.module.runs import ROWS, Passes, Rows, exact_loader, fit, fresh_weights, make_module, weights

LIMIT = 150.0

# Without shuffling, two processes take turns at the rows: the first gets the even ones, the second the odd ones.
MIXED, ALL_EQUAL = ROWS[0], ROWS[2]
LONG = {**ROWS[1], "teacher": [3 * answer for answer in ROWS[1]["teacher"]]}
DATA: dict[str, list[Any]] = {
    "as-it-comes": [ROWS[0], ROWS[1], ROWS[3], ROWS[0]],
    "uneven": [LONG, MIXED, LONG, ALL_EQUAL],
    "first-has-nothing": [ALL_EQUAL, MIXED, ALL_EQUAL, LONG],
    "second-has-nothing": [MIXED, ALL_EQUAL, LONG, ALL_EQUAL],
    "nobody-has-anything": [ALL_EQUAL] * 4,
}
REDUCTIONS = ["token-mean", "sequence-mean", "group-mean"]
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{f"{name}-{budget}": (name, {"micro_batch_tokens": budget}) for name in DATA for budget in (12, 100_000)},
    **{reduction: ("uneven", {"micro_batch_tokens": 12, "reduction": reduction}) for reduction in REDUCTIONS},
    "sft": ("uneven", {"micro_batch_tokens": 12, "sft": True}),
    "clipped": ("uneven", {"micro_batch_tokens": 12, "gradient_clip_val": 0.01}),
    "several-updates": ("uneven", {"micro_batch_tokens": 12, "updates_per_batch": 3}),
    "adapters": ("uneven", {"micro_batch_tokens": 12, "lora": LoRA(r=4, modules_to_save=["lm_head"])}),
}
SAME_FIGURES = (
    *("loss", "grad_norm", "reward", "reward_std", "rewards/score/mean", "frac_reward_zero_std", "num_tokens"),
    *("entropy", "negative/token_fraction", "rectified_fraction", "coefficient_mean"),
)

Result = tuple[dict[str, Tensor], dict[str, float]]


def train(case: str, processes: int) -> Result:
    """Return weights and figures after two steps of four prompts each, over all processes."""
    name, settings = CASES[case]
    settings = dict(settings)
    reduction = settings.pop("reduction", "token-mean")
    loss = SFTLoss(reduction) if settings.pop("sft", False) else GFTLoss(reduction=reduction)
    policy = exact_loader()
    policy.lora = settings.pop("lora", None)
    module = make_module(loss, policy=policy, **settings)
    distributed = {"strategy": "ddp", "devices": 2} if processes == 2 else {}
    data = Rows(DATA[name] * 2, batch_size=4 // processes)
    trainer = fit(module, data, precision="64-true", use_distributed_sampler=False, **distributed)
    figures = {key: trainer.logged_metrics[f"train/{key}"].item() for key in SAME_FIGURES}
    return weights(module), figures


def sample() -> tuple[list[str], dict[str, float]]:
    """Return the first group of this process, and what the validation of both found."""
    module = make_module(sources={"self": SelfSource(4, max_new_tokens=12), "expert": ExpertSource()})
    data = Rows([MIXED, MIXED], ROWS, batch_size=1)
    trainer = fit(module, data, strategy="ddp", devices=2, use_distributed_sampler=False)
    found = {name: value.item() for name, value in trainer.logged_metrics.items() if name.startswith("val/")}
    return module.sampler.made[0].responses, found


def on_rank(rank: int) -> tuple[dict[str, Result], tuple[list[str], dict[str, float]]]:
    return {case: train(case, 2) for case in CASES}, sample()


@pytest.fixture(scope="module")
def ranks() -> list[tuple[dict[str, Result], tuple[list[str], dict[str, float]]]]:
    return run_two_processes(on_rank, limit=LIMIT)


@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_as_one(case: str, ranks: Any):
    expected_weights, expected_figures = train(case, 1)
    for results, _ in ranks:
        actual_weights, figures = results[case]
        torch.testing.assert_close(actual_weights, expected_weights, rtol=0, atol=1e-10)
        assert figures == pytest.approx(expected_figures, rel=1e-6)


def test_processes_sample_differently_and_evaluate_together(ranks: Any):
    (_, (first, found)), (_, (second, also_found)) = ranks
    assert first[4] == second[4] == "2"  # the expert's
    assert first[:4] != second[:4]
    assert found == also_found
    assert found["val/kl"] > 0


def passes_a_step(rows: list[Any]) -> int:
    passes = Passes()
    fit(make_module(micro_batch_tokens=12), Rows(rows), callbacks=[passes])
    return len(passes.sizes)


def test_the_cases_are_what_they_are_called():
    long, short, none = (passes_a_step(rows) for rows in (DATA["uneven"][::2], DATA["uneven"][1::2], [ALL_EQUAL] * 2))
    assert long > short > none == 1
    start = fresh_weights(make_module(policy=exact_loader()))
    for case, moves in (("uneven-12", True), ("nobody-has-anything-12", False)):
        trained, _ = train(case, 1)
        assert any(not torch.equal(value, start[name].double()) for name, value in trained.items()) == moves
