"""Ranks that sample different numbers of rounds, and policies that judge their own samples, train as one process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from lightning_gft import (
    ChosenSource,
    DemonstrationTeacher,
    DistillationLoss,
    GFTLitModule,
    GFTLoss,
    GroupSampler,
    ModelTeacher,
    MostDifferent,
    ResponseSource,
    Reward,
    SelfSource,
    TeacherSource,
)
from tests.distributed.launch import run_two_processes
from tests.module.runs import ROWS, DoublePolicy, Rows, double_loader, fit, sgd, weights

# Without shuffling, rank 0 gets the even rows and rank 1 the odd ones: one tries one prompt, the other all four.
DATA = [{**ROWS[number % 4], "prompt": f"{number}+{number}="} for number in range(8)]
DIFFER = {DATA[0]["prompt"], DATA[7]["prompt"]}


class Length(Reward):
    """Tells responses to two of the prompts apart, and no others."""

    def __call__(self, *, prompts: Sequence[str], responses: Sequence[str], **rest: Any) -> list[float]:
        return [float(len(text)) if prompt in DIFFER else 0.0 for prompt, text in zip(prompts, responses, strict=True)]


class Other(DoublePolicy):
    """A policy with weights of its own, the same on every rank."""

    def load_model(self) -> PreTrainedModel:
        torch.manual_seed(7)
        return super().load_model()


def train(rank: int, kind: str, strategy: str | None = None) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Return weights and figures after one step on eight prompts over all ranks."""
    other = double_loader()
    other.__class__ = Other
    teachers = {"shown": DemonstrationTeacher("{demonstration}#{prompt}"), "model": ModelTeacher(other)}
    own: ResponseSource = SelfSource(3, max_new_tokens=6, teacher=teachers.get(kind))
    if kind == "chosen":
        own = ChosenSource(SelfSource(8, max_new_tokens=6), 3, MostDifferent(1))
    sources = {"own": own, "teacher": TeacherSource(2)}
    rounds = kind == "rounds"
    sampler = GroupSampler(sources, {"length": Length()}, num_groups=(1 if strategy else 8) if rounds else None)
    loss = GFTLoss() if kind in ("rounds", "chosen") else DistillationLoss()
    module = GFTLitModule(double_loader(), sampler, loss, optimizer=sgd(), gradient_clip_val=None)
    distributed = {"strategy": strategy, "devices": 2} if strategy else {}
    data = Rows(DATA, batch_size=4 if strategy else 8)
    trainer = fit(module, data, use_distributed_sampler=False, **distributed)
    return weights(module), {name: float(value) for name, value in trainer.callback_metrics.items()}


@pytest.mark.parametrize(
    ("kind", "strategy"),
    [
        ("rounds", "fsdp"),
        ("shown", "fsdp"),
        ("chosen", "ddp"),
        pytest.param("rounds", "ddp", marks=pytest.mark.slow),
        pytest.param("model", "fsdp", marks=pytest.mark.slow),
    ],
)
def test_two_ranks_train_as_one_process_does(kind: str, strategy: str):
    expected, figures = train(0, kind)
    for trained, of_rank in run_two_processes(train, kind, strategy):
        for name, weight in expected.items():
            torch.testing.assert_close(trained[name], weight, rtol=0, atol=1e-6)
        if kind == "rounds":
            assert figures["train/sampling/num_groups"] == of_rank["train/sampling/num_groups"] == 2
            assert of_rank["train/sampling/num_prompts_never_sampled"] == 3
            assert of_rank["train/sampling/frac_prompts_tried"] == pytest.approx(5 / 8)
            assert figures["train/grad_norm"] > 0
        elif kind == "chosen":
            counts = [f"train/sources/own/{name}" for name in ("given", "duplicates", "left_out")]
            assert [of_rank[name] for name in counts] == [figures[name] for name in counts]
            assert figures["train/sources/own/given"] == 64
            assert figures["train/sources/own/left_out"] > 0
        else:
            assert of_rank["train/teacher_kl"] == pytest.approx(figures["train/teacher_kl"], abs=1e-5)
            assert figures["train/teacher_kl"] != 0
