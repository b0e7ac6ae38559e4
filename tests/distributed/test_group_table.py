"""Kept groups of a run on two ranks: those of rank 0, each once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger

from lightning_gft import Evaluation, SelfSource, TeacherSource
from lightning_gft.callbacks import GroupTable
from lightning_gft.samples import read_samples
from tests.distributed.launch import run_two_processes
from tests.module.runs import ROWS, Rows, fit, make_module


class Prompts(Callback):
    """Remembers the prompts of each step of its rank, and their places in the batch of all ranks."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, str, int]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        places = range(len(batch)) if batch.places is None else batch.places
        self.seen += [(trainer.global_step, *prompt) for prompt in zip(batch.prompts, places, strict=True)]


def train(rank: int, folder: str) -> list[tuple[int, str, int]]:
    sources = {"teacher": TeacherSource(4), "self": SelfSource(2, max_new_tokens=4)}
    module, prompts = make_module(sources=sources, evaluation=Evaluation(num_samples=2, max_new_tokens=4)), Prompts()
    fit(
        module,
        Rows(val_rows=ROWS, batch_size=1),
        callbacks=[prompts, GroupTable(num_groups=9)],
        logger=CSVLogger(folder, name="", version=""),
        devices=2,
        strategy="ddp",
    )
    return prompts.seen


def test_rank_0_alone_writes_its_groups(tmp_path: Path):
    first, second = run_two_processes(train, str(tmp_path))
    kept = read_samples(tmp_path)
    assert [(group.step, group.prompt, group.group) for group in kept if group.kind == "train"] == first
    assert {prompt for _, prompt, _ in first}.isdisjoint({prompt for _, prompt, _ in second})
    assert [(group.step, group.prompt) for group in kept if group.kind == "val"] == [
        (2, ROWS[0]["prompt"]),
        (2, ROWS[2]["prompt"]),
    ]
