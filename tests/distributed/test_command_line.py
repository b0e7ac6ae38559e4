"""The command line on two ranks; `fit` with Lightning's own launcher is in test_launching.py."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from pathlib import Path

import pyarrow.parquet as pq

from lightning_gft.cli import main
from tests.cli.command import GFT, SMALL
from tests.distributed.launch import run_two_processes

UNEVEN = ("--data.num_train=9", "--data.num_val=5", "--data.eval_batch_size=2")


def printed(rank: int, subcommand: str, folder: str) -> str:
    """Return what a rank prints."""
    several = ("--trainer.strategy=fsdp", "--trainer.devices=2", f"--trainer.default_root_dir={folder}")
    with redirect_stdout(io.StringIO()) as output:
        main([subcommand, "--config", GFT, *SMALL, *UNEVEN, *several])
    return output.getvalue()


def validate_and_predict(rank: int, folder: str) -> tuple[str, str]:
    return printed(rank, "validate", f"{folder}/validated"), printed(rank, "predict", f"{folder}/predicted")


def test_two_ranks_end_well_and_speak_once(tmp_path: Path):
    validated, predicted = map("".join, zip(*run_two_processes(validate_and_predict, str(tmp_path)), strict=True))
    assert validated.count("greedy_accuracy") == 1
    assert len(list(tmp_path.glob("validated/lightning_logs/version_*"))) == 1
    files = sorted(tmp_path.glob("predicted/groups-*.parquet"))
    assert sum(len(pq.read_table(file)) for file in files) == 9
    assert [predicted.count(str(file)) for file in files] == [1, 1]
