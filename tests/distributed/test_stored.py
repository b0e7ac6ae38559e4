"""Two ranks write the groups of one folder, and resume there together."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Trainer, seed_everything

from lightning_gft import GFTLitModule, GFTLoss, GroupSampler, SelfSource, TeacherSource
from lightning_gft.callbacks import GroupWriter
from lightning_gft.stored import StoredGroup, StoredGroups
from tests.distributed.launch import run_two_processes
from tests.module.runs import ROWS, DigitSum, Rows
from tests.tiny import tiny_loader

DATA = [{**ROWS[number % 4], "prompt": f"{number}+{number}="} for number in range(9)]


def predict(rank: int, folder: str, strategy: str | None) -> tuple[str, list[int | None]]:
    """Return what a rank prints, and how many responses each of its batches got in this run."""
    seed_everything(3, verbose=False)
    sources = {"own": SelfSource(3, max_new_tokens=6), "teacher": TeacherSource(2)}
    module = GFTLitModule(tiny_loader(), GroupSampler(sources, {"digits": DigitSum()}), GFTLoss())
    options: dict[str, Any] = {"strategy": strategy, "devices": 2} if strategy else {"devices": 1}
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    writer: Any = GroupWriter(folder)
    trainer = Trainer(accelerator="cpu", callbacks=[writer], enable_model_summary=False, **quiet, **options)  # type: ignore[arg-type]
    with redirect_stdout(io.StringIO()) as output:
        predictions: Any = trainer.predict(module, Rows(DATA, batch_size=2 if strategy else 4))
    return output.getvalue(), [None if groups is None else len(groups) for groups in predictions]


def untimed(folder: Path) -> list[StoredGroup]:
    return [replace(group, sampling_seconds=0.0, scoring_seconds=0.0) for group in StoredGroups(folder)]


@pytest.mark.parametrize("strategy", ["fsdp", pytest.param("ddp", marks=pytest.mark.slow)])
def test_two_ranks_write_resume_and_refuse_together(strategy: str, tmp_path: Path):
    folder = tmp_path / "groups"
    (told, first), (silent, second) = run_two_processes(predict, str(folder), strategy)
    assert (told.count("9 groups written to"), silent) == (1, "")
    assert (first, second) == ([10, 10, 5], [10, 10])  # the last prompt is rank 0's alone
    whole = untimed(folder)
    assert [group.row for group in whole] == [str(n) for n in range(9)]

    (folder / "groups-000001-001.parquet").unlink()
    (folder / "groups-000002-000.parquet").unlink()
    (told, first), (_, second) = run_two_processes(predict, str(folder), strategy)
    assert (first, second) == ([None, 10, 5], [None, 10])  # no rank skips what the other one samples
    assert told.count("5 groups written to") == 1
    assert untimed(folder) == whole

    (told, first), (silent, second) = run_two_processes(predict, str(folder), strategy)
    assert (told.count("nothing was sampled"), silent) == (1, "")
    assert {*first, *second} == {None}

    with pytest.raises(ValueError, match=r"with other .*ranks: 1 \(was 2\)"):
        predict(0, str(folder), None)
    predict(0, str(tmp_path / "alone"), None)
    for one, other in zip(untimed(tmp_path / "alone"), whole, strict=True):  # with the same batches over all ranks
        assert (one.step, one.place, one.columns) == (other.step, other.place, other.columns)
        assert [r.token_ids for r in one.responses] == [r.token_ids for r in other.responses]
