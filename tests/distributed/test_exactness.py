"""Two ranks train as one process does, whether each has all weights (DDP) or a shard of each (FSDP2)."""

from __future__ import annotations

from functools import cache, partial
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import AdamW

from lightning_gft import (
    Annealing,
    CHORDLoss,
    Evaluation,
    ExpertSource,
    GFTLoss,
    HPTLoss,
    LoRA,
    SelfSource,
    SFTLoss,
    TeacherSource,
)
from tests.distributed.launch import run_two_processes
from tests.module.runs import ROWS, Passes, Rows, double_loader, fit, fresh_weights, make_module, weights

STRATEGIES = ["ddp", "fsdp"]

# Without shuffling, rank 0 gets the even rows and rank 1 the odd ones.
MIXED, ALL_EQUAL = ROWS[0], ROWS[2]
LONG = {**ROWS[1], "teacher": [3 * answer for answer in ROWS[1]["teacher"]]}
RAGGED = {**ROWS[3], "teacher": ROWS[3]["teacher"][:2]}
BATCHES: dict[str, list[Any]] = {
    "as it comes": [ROWS[0], ROWS[1], RAGGED, ROWS[0]],
    "uneven": [LONG, MIXED, LONG, ALL_EQUAL],
    "first has nothing": [ALL_EQUAL, MIXED, ALL_EQUAL, LONG],
    "second has nothing": [MIXED, ALL_EQUAL, LONG, ALL_EQUAL],
    "neither has anything": [ALL_EQUAL] * 4,
}
DATA = [row for batch in BATCHES.values() for row in batch] * 2 + [LONG, MIXED]
STEPS = 11  # the last with half as many prompts
UNTIED = {"tie_word_embeddings": False}
OWN_SAMPLES = {"self": SelfSource(4, max_new_tokens=12), "expert": ExpertSource(), "some": TeacherSource(1)}
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "in-pieces": {"micro_batch_tokens": 20},
    "sft-sequence-mean": {"loss": SFTLoss, "reduction": "sequence-mean"},
    "several-updates": {"updates_per_batch": 2},
    "adam-clipped": {"optimizer": partial(AdamW, lr=1e-4), "gradient_clip_val": 0.01},
    "untied-group-mean": {"config": UNTIED, "reduction": "group-mean"},
    "adapters-untied": {"lora": LoRA(r=4, modules_to_save=["lm_head"]), "config": UNTIED},
    "adapters-tied": {"lora": LoRA(r=4, modules_to_save=["lm_head"])},
    "own-samples": {"sources": OWN_SAMPLES, "evaluation": Evaluation(num_samples=2, max_new_tokens=6)},
    "own-samples-adapters": {"sources": OWN_SAMPLES, "evaluation": Evaluation(2, 6), "lora": LoRA(r=4)},
    # Each source by its own mean, and each prompt by its own objective, of which a rank may have none.
    "chord": {"loss": partial(CHORDLoss, Annealing(0.9, 0.1, 30)), "sources": OWN_SAMPLES, "updates_per_batch": 2},
    "hpt": {"loss": partial(HPTLoss, 1), "reduction": "group-mean", "sources": OWN_SAMPLES, "updates_per_batch": 2},
}
SAME_FIGURES = (
    *("loss", "grad_norm", "reward", "reward_std", "rewards/score/mean", "frac_reward_zero_std", "num_tokens"),
)
OF_TOKENS = ("entropy", "nll", "negative/", "rectified_", "inverse_probability_", "coefficient_mean")
OF_GROUPS = ("train/frac_", "train/distinct", "train/reward_by", "train/advantage", "train/length", "train/clipped_")
OF_LOSSES = ("mu", "frac_sft_prompts", "clip_ratio/high_mean")

Result = tuple[dict[str, Tensor], dict[str, float]]


def train(rank: int, case: str, strategy: str | None = None) -> Result:
    """Return weights and figures after steps of four prompts each, over all ranks."""
    evaluation = Evaluation(num_samples=2, max_new_tokens=6, kl=False)
    settings = {"micro_batch_tokens": 40, "evaluation": evaluation, **CASES[case]}
    reduction = settings.pop("reduction", "token-mean")
    loss = settings.pop("loss", GFTLoss)(reduction=reduction)
    policy = double_loader(**settings.pop("config", {}))
    policy.lora = settings.pop("lora", None)
    module = make_module(loss, policy=policy, **settings)
    ranks = 1 if strategy is None else 2
    distributed = {} if strategy is None else {"strategy": strategy, "devices": 2}
    data = Rows(DATA, ROWS[:3], batch_size=4 // ranks)
    trainer = fit(module, data, use_distributed_sampler=False, **distributed)
    assert trainer.global_step == STEPS * module.updates_per_batch
    logged = trainer.callback_metrics
    figures = {key: logged[f"train/{key}"].item() for key in SAME_FIGURES}
    figures |= {key: logged[f"train/{key}"].item() for key in OF_LOSSES if f"train/{key}" in logged}
    of_tokens = {key for key in logged if key.startswith(tuple(f"train/{name}" for name in OF_TOKENS))}
    assert len(of_tokens) >= 8 + 12, of_tokens  # by one source at least
    figures |= {key: logged[key].item() for key in of_tokens}
    figures |= {key: value.item() for key, value in logged.items() if key.startswith(OF_GROUPS)}
    return weights(module), figures | {key: value.item() for key, value in logged.items() if key.startswith("val/")}


@cache
def alone(case: str) -> Result:
    return train(0, case)


def quick_and_slow() -> list[Any]:
    """Return every case under each strategy; the quick run has some, and samples under both."""
    quick = {("in-pieces", "ddp"), ("own-samples", "ddp"), ("chord", "fsdp")}
    return [pytest.param(*pair, marks=() if pair in quick else pytest.mark.slow) for pair in product(CASES, STRATEGIES)]


@pytest.mark.parametrize(("case", "strategy"), quick_and_slow())
def test_two_ranks_train_as_one(case: str, strategy: str):
    expected_weights, expected_figures = alone(case)
    for actual_weights, figures in run_two_processes(train, case, strategy):
        torch.testing.assert_close(actual_weights, expected_weights, rtol=0, atol=1e-9)
        assert figures == pytest.approx(expected_figures, rel=1e-6)


def draw(rank: int) -> list[str]:
    """Return the first group of this rank."""
    module = make_module(sources={"self": SelfSource(4, max_new_tokens=12), "expert": ExpertSource()})
    fit(module, Rows([MIXED, MIXED], batch_size=1), strategy="ddp", devices=2, use_distributed_sampler=False)
    return module.sampler.made[0].responses


def test_ranks_draw_differently():
    first, second = run_two_processes(draw)
    assert first[4] == second[4] == "2"  # the expert's
    assert first[:4] != second[:4]


def passes_a_step(rows: list[Any]) -> int:
    passes = Passes()
    fit(make_module(micro_batch_tokens=40), Rows(rows), callbacks=[passes])
    return len(passes.sizes)


def test_the_batches_are_what_they_are_called():
    rows = BATCHES["uneven"]
    long, short, none = (passes_a_step(rows) for rows in (rows[::2], rows[1::2], BATCHES["neither has anything"]))
    assert long > short >= none == 1
    start = fresh_weights(make_module(policy=double_loader()))
    for name, batch in BATCHES.items():
        module = make_module(policy=double_loader())
        fit(module, Rows(batch))
        trained = weights(module)
        moves = any(not torch.equal(weight, start[name]) for name, weight in trained.items())
        assert moves == (name != "neither has anything")
