"""Checkpoint files: written whole or not at all, and looked at before a run goes on from one."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins import TorchCheckpointIO
from typing_extensions import override

from lightning_gft.checkpoint.integrity import check_parts
from lightning_gft.checkpoint.sharded import META, is_sharded, read_parts

_LIGHTNING = ("state_dict", "loops", "pytorch-lightning_version")
_REMEDY = "give a .ckpt file or folder that was written while training"


def check_checkpoint(path: Path) -> None:
    """Refuse a file that is no checkpoint of a training run.

    Args:
        path: File or folder; a folder is left to the strategy that wrote it.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If the file cannot be read, or holds something else.
    """
    if not path.exists():
        raise FileNotFoundError(f"ckpt_path={path} does not exist: {_REMEDY}")
    if path.is_dir() and not is_sharded(path):
        raise ValueError(f"ckpt_path={path} is a folder, but no checkpoint in parts: {_REMEDY}")
    if path.is_dir():
        check_parts(path, _read(path / META, path))
        return
    if not zipfile.is_zipfile(path):
        raise ValueError(f"ckpt_path={path} was cut short, or is no checkpoint at all: {_REMEDY}")
    with zipfile.ZipFile(path) as archive:
        if damaged := archive.testzip():
            raise ValueError(f"ckpt_path={path} is damaged, in its part {damaged}: {_REMEDY}")
    content = _read(path, path)
    missing = [key for key in _LIGHTNING if not isinstance(content, dict) or key not in content]
    if missing:
        raise ValueError(
            f"ckpt_path={path} holds no {', '.join(missing)}, so it is no checkpoint of a training run: {_REMEDY}; "
            "weights alone are loaded by the policy's model_name_or_path"
        )


def _read(file: Path, path: Path) -> Any:
    try:
        return torch.load(file, map_location="meta", weights_only=True, mmap=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise ValueError(f"ckpt_path={path} is no checkpoint ({type(error).__name__}): {_REMEDY}") from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Return a checkpoint for its weights alone; what optimizers keep may be missing.

    Args:
        path: File or folder that :func:`check_checkpoint` has nothing against.
    """
    if is_sharded(path):
        return read_parts(path, optimizers=False)
    checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return checkpoint


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and then moves it there: what bears its name is whole.

    It also reads what several processes have written in parts, so that one can go on from it.

    Lightning writes to the machine's temporary folder, from where a file on another disk is copied, not moved; and it
    holds the whole file in memory besides.
    """

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        if "://" in str(path) or storage_options is not None:  # not a file of this machine, or not for this class
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"{path.name}.part")
        try:
            with unfinished.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)

    @override
    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        if is_sharded(path):
            return read_parts(path)
        loaded: dict[str, Any] = super().load_checkpoint(path, *args, **kwargs)
        return loaded
