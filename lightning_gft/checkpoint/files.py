"""Checkpoint files: written completely or not at all, and checked before a run resumes from one."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins import TorchCheckpointIO
from typing_extensions import override

from lightning_gft.checkpoint.contents import check_contents
from lightning_gft.checkpoint.integrity import check_shards
from lightning_gft.checkpoint.room import unfinished_name, writing
from lightning_gft.checkpoint.sharded import META, is_sharded, read_shards
from lightning_gft.checks import with_value
from lightning_gft.errors import GFTValueError

_REMEDY = "give a .ckpt file or folder that was written while training"


def check_checkpoint(path: Path, *, resumes: bool = False, hint: str = "") -> None:
    """Check that a file or folder is an undamaged checkpoint of this package, before any model is loaded.

    Args:
        path: Checkpoint file, or folder of shards.
        resumes: Whether a run is to be resumed from it, which needs more than weights.
        hint: What to do instead if it does not exist.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If it cannot be read, or is not a checkpoint of this package.
    """
    where = with_value("ckpt_path", str(path))
    if not path.exists():
        raise FileNotFoundError(f"{where}: expected a checkpoint that exists, got none; {hint or _REMEDY}")
    if path.is_dir() and not is_sharded(path):
        raise GFTValueError(f"{where}: expected a checkpoint, got a folder that holds no shards of one; {_REMEDY}")
    notes = read_notes(path)
    try:
        if path.is_dir():
            check_shards(path, notes)
            notes = {**notes, "state_dict": {}}  # held by the shards
        else:
            _check_archive(path)
        check_contents(notes, resumes=resumes)
    except ValueError as error:
        raise GFTValueError(f"{where}: {error}") from None


def read_notes(path: Path) -> dict[str, Any]:
    """Return the contents of a checkpoint with tensors on the meta device; a folder's weights are not included.

    Args:
        path: Checkpoint file, or folder of shards.

    Raises:
        ValueError: If it cannot be read.
    """
    file, where = path / META if path.is_dir() else path, with_value("ckpt_path", str(path))
    if not zipfile.is_zipfile(file):
        raise GFTValueError(f"{where}: expected a checkpoint, got a file that was cut short or is none; {_REMEDY}")
    try:
        notes: dict[str, Any] = torch.load(file, map_location="meta", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise GFTValueError(
            f"{where}: expected tensors, numbers and texts alone, got other Python objects, which could run code and "
            f"are not loaded; {_REMEDY}"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise GFTValueError(
            f"{where}: expected a checkpoint, got a file that is none ({type(error).__name__}); {_REMEDY}"
        ) from error
    return notes


def _check_archive(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        if damaged := archive.testzip():
            raise GFTValueError(f"expected an undamaged file, got one whose part {damaged} is damaged; {_REMEDY}")


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Return a checkpoint for its weights; optimizer states may be missing.

    Args:
        path: File or folder that has passed :func:`check_checkpoint`.
    """
    if is_sharded(path):
        return read_shards(path, optimizers=False)
    checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return checkpoint


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint under a temporary name and then renames it, so a file with its final name is complete.

    It also reads folders of shards, so that one process can resume from the checkpoint of several ranks.

    Lightning's own writer goes through the machine's temporary folder, from where a file is copied, not moved, to
    another disk; it also holds the whole file in memory.
    """

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        if "://" in str(path) or storage_options is not None:  # not a local file, or options for the base class
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        path = Path(path)
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = unfinished_name(path)
            try:
                with unfinished.open("xb") as file:
                    torch.save(checkpoint, file)
                    file.flush()
                    os.fsync(file.fileno())
                unfinished.replace(path)
            finally:
                unfinished.unlink(missing_ok=True)

    @override
    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        if is_sharded(path):
            return read_shards(path)
        loaded: dict[str, Any] = super().load_checkpoint(path, *args, **kwargs)
        return loaded
