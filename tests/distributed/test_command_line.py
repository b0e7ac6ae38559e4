"""The command line on two ranks; `fit` with Lightning's own launcher is in test_launching.py."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from pathlib import Path

from lightning_gft.cli import main
from lightning_gft.stored import StoredGroups
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
    folder = tmp_path / "predicted/groups"
    assert predicted.count(f"9 groups written to {folder}") == 1
    groups = StoredGroups(folder)
    assert [group.row for group in groups] == [str(n) for n in range(9)]  # of both ranks, in the order of the data
