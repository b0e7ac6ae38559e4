"""Figures of updates and of time on two ranks: those of one, and those that are taken slowly from whole weights."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest

from lightning_gft import LoRA, SelfSource, TeacherSource
from lightning_gft.training import RUN_NAMES, updates
from tests.distributed.launch import run_two_processes
from tests.module.runs import ROWS, Rows, fit, make_module
from tests.tiny import tiny_loader
from tests.training.measured import Figures, Measured


def train(rank: int, strategy: str, adapters: bool, ranks: int = 2) -> tuple[list[Figures], list[Figures], Figures]:
    """Return the figures of two steps, the same taken slowly, and those of time and memory."""
    loader, slow = tiny_loader(tie_word_embeddings=False), Measured()
    loader.lora = LoRA(r=2) if adapters else None
    sources = {"self": SelfSource(2, max_new_tokens=6, temperature=0.7), "teacher": TeacherSource(4)}
    module = make_module(sources=sources, policy=loader, micro_batch_tokens=40)
    distributed: dict[str, Any] = {"strategy": strategy, "devices": 2} if ranks == 2 else {}
    data = Rows(ROWS, batch_size=2 // ranks)
    with patch.object(updates, "DIVERGENCE_EACH", 1):
        trainer = fit(module, data, callbacks=[slow], log_every_n_steps=1, use_distributed_sampler=False, **distributed)
    return slow.logged, slow.figures, {name: float(trainer.callback_metrics[f"train/{name}"]) for name in RUN_NAMES}


@pytest.mark.parametrize(
    ("strategy", "adapters"), [("ddp", False), ("fsdp2", False), pytest.param("fsdp2", True, marks=pytest.mark.slow)]
)
def test_two_ranks_measure_what_one_does(strategy, adapters):
    ranks = run_two_processes(train, strategy, adapters)
    alone, expected, _ = train(0, "", adapters, ranks=1)
    assert len(alone) == 2
    assert ranks[0][0] == ranks[1][0]
    for step in range(2):
        assert alone[step] == pytest.approx(expected[step], rel=1e-3)
        assert ranks[0][0][step] == pytest.approx(alone[step], rel=2e-3)
        slow = ranks[0][1][step]
        assert {name: ranks[0][0][step][name] for name in slow if name != "kl_step"} == pytest.approx(
            {name: value for name, value in slow.items() if name != "kl_step"}, rel=1e-3
        )
    assert ranks[0][2] == ranks[1][2]
    assert 0 < sum(share for name, share in ranks[0][2].items() if name.startswith("time/")) <= 1
