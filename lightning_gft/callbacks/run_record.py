"""Records the settings of a run and the weights of its tokens in files beside the logs."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from typing_extensions import override

from lightning_gft import record
from lightning_gft.callbacks.writing import giving_up
from lightning_gft.data import PromptDataModule
from lightning_gft.metrics.histogram import sparse
from lightning_gft.module import GFTLitModule
from lightning_gft.stored.writing import set_aside
from lightning_gft.types import Source

_LIBRARIES = {"lightning_gft": "lightning-gft", **{name: name for name in ("torch", "transformers", "lightning")}}


class RunRecord(Callback):
    """Writes a description of the run to ``run.json`` beside the logs, and a row to ``weights.jsonl`` per logged step.

    :mod:`lightning_gft.record` documents the contents; ``lightning-gft report`` reads them. The record holds nothing of
    the environment except versions and the kind of device. On by default in the command line.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=[RunRecord()], accelerator="cpu", logger=False)
    """

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._last = -1  # step of the newest row

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, GFTLitModule)  # noqa: S101 (this package's callbacks serve its module)
        self._folder, self._last = record_folder(trainer), trainer.global_step
        if self._folder is not None and trainer.is_global_zero:
            with self._writing() as folder:
                description = describe_run(trainer, pl_module)
                description["starts"] = _starts(folder / record.RUN, trainer.global_step, description["started"])
                record.write_whole(folder / record.RUN, json.dumps(description, indent=2) + "\n")
                if (fault := record.drop_rows_after(folder / record.WEIGHTS, trainer.global_step)) is not None:
                    rank_zero_warn(f"{fault}; lines that are no rows are left out")

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, GFTLitModule)  # noqa: S101
        if self._folder is not None and trainer.is_global_zero and pl_module.rows.due:
            histograms = pl_module.statistics.coefficients.histograms.cpu()
            step, before = pl_module.run.steps(), self._last
            self._last = step
            with self._writing() as folder:
                if step == before:  # the update was skipped; only the newest row of a step counts
                    record.drop_rows_after(folder / record.WEIGHTS, step - 1)
                record.append_row(folder / record.WEIGHTS, {"step": step, **_weights(histograms)})

    @contextmanager
    def _writing(self) -> Iterator[Path]:
        def give_up() -> None:
            self._folder = None

        assert self._folder is not None  # noqa: S101 (the caller has checked it)
        with giving_up("RunRecord writes no more", give_up):
            yield self._folder


def record_folder(trainer: Trainer) -> Path | None:
    """Return the folder for the record of a run, or ``None`` without one. All ranks must call this together.

    It is the folder of the logs; a run without logs, or with logs on another machine, has no record.

    Args:
        trainer: The trainer with its loggers.
    """
    if not trainer.loggers or trainer.fast_dev_run:  # type: ignore[attr-defined]
        return None
    log_dir, logger = trainer.log_dir, trainer.loggers[0]
    if log_dir is None or "://" in log_dir:
        rank_zero_warn(f"The run leaves no record: its logs are in no folder of this machine ({log_dir})")
        return None
    if isinstance(logger, CSVLogger | TensorBoardLogger):
        return Path(log_dir)
    return Path(log_dir) / trainer.strategy.broadcast(f"{logger.name}/{logger.version}")  # the checkpoints' folder


def describe_run(trainer: Trainer, module: GFTLitModule) -> dict[str, Any]:
    """Return the description of a starting run for ``run.json``.

    Args:
        trainer: A trainer that is about to train.
        module: The module with its policy loaded.
    """
    model = module.policy.model
    return {
        "version": record.VERSION,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {
            **{name: version(distribution) for name, distribution in _LIBRARIES.items()},
            "python": platform.python_version(),
        },
        "device": _device(trainer),
        "world_size": trainer.world_size,
        "precision": str(trainer.precision),
        "parameters": model.num_parameters(),
        "trainable": model.num_parameters(only_trainable=True),
        "model": type(module.policy_loader).__name__,
        "data": _data(trainer),
    }


def _weights(histograms: Tensor) -> dict[str, dict[str, dict[str, int]]]:
    """Return histograms of the weights by source, ``[sources, 2, bins]``, without empty ones; equal on all ranks."""
    of_sources = {source.name.lower(): histograms[source] for source in Source if bool(histograms[source].any())}
    return {
        when: {name: sparse(of_source[number]) for name, of_source in of_sources.items()}
        for number, when in enumerate(("before", "after"))
    }


def _device(trainer: Trainer) -> dict[str, Any]:
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {"kind": device.type, "name": name, "count": trainer.num_devices * trainer.num_nodes}


def _data(trainer: Trainer) -> dict[str, Any]:
    """Return the numbers of prompts; those of datamodules outside this package are not known."""
    data = getattr(trainer, "datamodule", None)
    if not isinstance(data, PromptDataModule):
        return {"train": None, "val": {}}
    numbers = {split: {name: len(rows) for name, rows in datasets.items()} for split, datasets in data.examples.items()}
    return {"train": sum(numbers.get("train", {}).values()) or None, "val": numbers.get("val", {})}


def _starts(path: Path, step: int, started: str) -> list[dict[str, Any]]:
    """Return the starts of a fit; a fit that begins at step 0 has no earlier ones, even in a used folder."""
    earlier = _read_starts(path) if path.exists() else []
    return [*(earlier if step else []), {"started": started, "step": step}]


def _read_starts(path: Path) -> list[dict[str, Any]]:
    """Return the starts in a ``run.json``; another or a damaged file is set aside under a new name."""
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        written = None
    starts = written.get("starts") if isinstance(written, dict) else None
    if isinstance(starts, list):
        return starts
    aside = set_aside(path).name
    rank_zero_warn(f"`{path}`: expected the record of an earlier run, got another file; set aside as {aside}")
    return []
