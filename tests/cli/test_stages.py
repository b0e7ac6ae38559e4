"""A run in stages through the real command line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from lightning_gft.cli import main
from tests.cli.command import GFT, ROOT, SMALL, column, logged, refused

OVERLAY = ROOT / "configs/overlays/sft_gft_grpo.yaml"
OPTIMIZERS = """
from torch.optim import SGD, Optimizer
from lightning_gft.errors import GFTValueError
def make(weights) -> Optimizer:
    raise ValueError("no such optimizer")
class Own(SGD):
    def __init__(self, params, lr: float = 1.0) -> None:
        raise GFTValueError("`lr`: expected another")
"""
STAGES = "--trainer.callbacks.stages."


@pytest.mark.slow
def test_the_overlay_runs_all_stages(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    lengths = [f"{STAGES}{name}.max_steps={steps}" for name, steps in (("sft", 2), ("gft", 4), ("grpo", 1))]
    small = [*SMALL, "--trainer.max_steps=-1"]
    main(["fit", "--config", GFT, "--config", str(OVERLAY), f"--trainer.default_root_dir={tmp_path}", *small, *lengths])
    rows, shown = logged(tmp_path), capsys.readouterr().out
    stages = column(rows, "train/stage")
    assert stages[:2] == [1, 1]
    assert stages[-1] == 3
    assert column(rows, "sft/train/loss") == column(rows, "train/loss")[:2]
    assert column(rows, "grpo/train/clip_ratio/low_mean") == [0]
    assert len(column(rows, "gft/val/greedy_accuracy")) >= 1
    for name in ("1-sft", "2-gft", "3-grpo"):
        (path,) = tmp_path.glob(f"**/checkpoints/{name}.ckpt")
        assert f"Checkpoint: {path}" in shown


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("gft.until.monitor=val/greedy_acuracy", r"\[0\]\.stages\.gft\.until\.monitor`: .* did you mean val/greedy_"),
        ("sft.learning_rate=-1", r"error: `trainer\.callbacks\[0\]\.stages\.sft\.learning_rate`: .*, got -1.0$"),
        ("sft.max_step=3", "max_step"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_stage_is_told_in_a_line(setting: str, message: str, capsys, tmp_path: Path):
    args = ("--config", GFT, "--config", str(OVERLAY), f"--trainer.default_root_dir={tmp_path}", *SMALL)
    shown = refused(capsys, "fit", *args, f"{STAGES}{setting}")
    (line,) = [line for line in shown.splitlines() if line.startswith("error: ")]
    assert re.search(message, line)
    assert "Traceback" not in shown


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        ("{class_path: torch.optim.SGD, init_args: {lr: -1}}", "Invalid learning rate: -1.0"),
        ("own_optimizers.make", "no such optimizer"),
        ("own_optimizers.Own", "expected another"),
    ],
)
def test_a_mistake_in_the_optimizer_of_a_stage_names_it(
    optimizer: str, message: str, capsys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "own_optimizers.py").write_text(OPTIMIZERS)
    monkeypatch.syspath_prepend(tmp_path)
    args = ("--config", GFT, "--config", str(OVERLAY), f"--trainer.default_root_dir={tmp_path}", *SMALL)
    shown = refused(capsys, "fit", *args, f"{STAGES}gft.optimizer={optimizer}")
    (line,) = [line for line in shown.splitlines() if line.startswith("error: ")]
    setting = r"`trainer\.callbacks\[0\]\.stages\.gft\.optimizer(\.lr)?`"
    assert re.fullmatch(f"error: {setting}: {message}", line)


def test_two_schedules_are_refused(capsys, tmp_path: Path):
    config = yaml.safe_load(OVERLAY.read_text())
    config["trainer"]["callbacks+"] *= 2
    two = tmp_path / "two.yaml"
    two.write_text(yaml.safe_dump(config))
    shown = refused(capsys, "fit", "--config", GFT, "--config", str(two), *SMALL)
    assert "error: `trainer.callbacks`: expected one StageSchedule with these settings, got two" in shown
