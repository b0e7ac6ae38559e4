"""Loggers of other libraries, where these are installed: a run's figures and groups reach them, without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.loggers import MLFlowLogger, WandbLogger
from lightning.pytorch.loggers.logger import Logger

from lightning_gft import Evaluation
from lightning_gft.callbacks import GroupTable
from tests.cli.command import ROOT
from tests.module.runs import ROWS, Rows, fit, make_module
from tests.test_docs import blocks

pytestmark = pytest.mark.slow


def run(logger: Logger, folder: Path) -> dict[str, float]:
    """Train two steps with a validation, and return the figures of the run."""
    trainer = fit(
        make_module(evaluation=Evaluation(num_samples=2, max_new_tokens=4, kl=False)),
        Rows(val_rows=ROWS, batch_size=2),
        logger=logger,
        callbacks=[GroupTable(every_n_steps=1)],
        log_every_n_steps=1,
        default_root_dir=folder,
    )
    figures = trainer.callback_metrics.items()  # and names of the progress bar
    return {name: float(value) for name, value in figures if name.startswith(("train/", "val/"))}


def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    logger = MLFlowLogger("gft", tracking_uri=f"file:{tmp_path}/mlruns")
    with pytest.warns(match="special characters in metric name"):
        figures = run(logger, tmp_path)
    kept = logger.experiment.get_run(logger.run_id).data.metrics
    assert kept["train/loss"] == pytest.approx(figures["train/loss"])
    assert kept["val/mean2"] == pytest.approx(figures["val/mean@2"])  # MLflow allows no @
    assert {name.replace("@", "") for name in figures} <= set(kept)
    assert logger.experiment.list_artifacts(logger.run_id, "samples")


def test_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = WandbLogger("gft", save_dir=str(tmp_path), offline=True)
    figures = run(logger, tmp_path)
    kept = dict(logger.experiment.summary)
    wandb.finish()
    assert {name: kept[name] for name in figures} == pytest.approx(figures, nan_ok=True)
    assert "samples/train" in kept
    assert list(tmp_path.rglob("*.wandb"))


def documented_logger() -> Any:
    """Return the logger that docs/embedding.md shows."""
    (block,) = (block for block in blocks(ROOT / "docs/embedding.md", "python") if "TrackioLogger" in block.text)
    namespace: dict[str, Any] = {}
    exec(block.text, namespace)  # noqa: S102
    return namespace["TrackioLogger"]


def test_trackio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio")
    from trackio.sqlite_storage import SQLiteStorage

    logger = documented_logger()("gft", name="run")
    figures = run(logger, tmp_path)
    rows = SQLiteStorage.get_logs("gft", "run")
    kept = {name: value for row in rows for name, value in row.items()}
    assert {name: kept[name] for name in ("train/loss", "val/mean@2")} == pytest.approx(
        {name: figures[name] for name in ("train/loss", "val/mean@2")}
    )
    assert set(figures) <= set(kept)
