"""Running the real command line inside the test process."""

from __future__ import annotations

import csv
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lightning_gft.cli import main
from tests.forking import Command

ROOT = Path(__file__).parents[2]
GFT = str(ROOT / "configs/quickstart/gft.yaml")
SFT = str(ROOT / "configs/quickstart/sft.yaml")
SMALL = (
    "--trainer.max_steps=2",
    "--trainer.val_check_interval=2",
    "--trainer.enable_progress_bar=false",
    "--data.num_train=8",
    "--data.num_val=4",
    "--data.num_second_skill=4",
    "--data.batch_size=4",
    "--model.evaluation.num_samples=2",
)


def base_of(overlay: Path) -> str | None:
    """Return the quickstart's configuration that an overlay's own command layers it over, if it does."""
    named = re.search(r"--config (configs/quickstart/\S+)", overlay.read_text())
    return str(ROOT / named[1]) if named else None


def printed_config(capsys: pytest.CaptureFixture[str], *args: str, subcommand: str = "fit") -> dict[str, Any]:
    """Return the configuration that ``args`` amount to."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main([subcommand, *args, "--print_config"])
    printed = capsys.readouterr()
    assert stop.value.code == 0, f"{stop.value.code}: {printed.err}"
    config: dict[str, Any] = yaml.load(printed.out, yaml.CSafeLoader)
    return config


def refused(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """Return what the command line says when it refuses ``args``."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(list(args))
    assert stop.value.code in (1, 2)
    return capsys.readouterr().err


def logged(root: Path) -> list[dict[str, str]]:
    """Return the rows of the only log below ``root``."""
    (path,) = root.glob("lightning_logs/*/metrics.csv")
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def column(rows: list[dict[str, str]], key: str) -> list[float]:
    return [float(row[key]) for row in rows if row.get(key)]


def wait_until(happened: Callable[[], object], process: Command) -> None:
    """Wait for what another process does; only one that hangs meets the limit."""
    deadline = time.monotonic() + 900
    while not happened():
        assert process.poll() is None, "ended by itself"
        assert time.monotonic() < deadline, "hangs"
        time.sleep(0.01)
