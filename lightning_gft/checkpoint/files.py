"""Checkpoint files: written whole or not at all, and checked before a run resumes from one."""

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
from lightning_gft.errors import GFTValueError

_REMEDY = "give a .ckpt file or folder that was written while training"


def check_checkpoint(path: Path, *, resumes: bool = False) -> None:
    """Refuse a file that is damaged, or no checkpoint of this package, before any model is loaded.

    Args:
        path: File or folder.
        resumes: Whether a run is to be resumed from it, for which weights are not enough.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If the file cannot be read, or holds something else.
    """
    if not path.exists():
        raise FileNotFoundError(f"ckpt_path={path} does not exist: {_REMEDY}")
    if path.is_dir() and not is_sharded(path):
        raise GFTValueError(f"ckpt_path={path} is a folder, but holds no shards of a checkpoint: {_REMEDY}")
    notes = read_notes(path)
    try:
        if path.is_dir():
            check_shards(path, notes)
            notes = {**notes, "state_dict": {}}  # in the shards
        else:
            _check_archive(path)
        check_contents(notes, resumes=resumes)
    except ValueError as error:
        raise GFTValueError(f"ckpt_path={path}: {error}") from None


def read_notes(path: Path) -> dict[str, Any]:
    """Return what a checkpoint holds besides the values of its tensors; a folder's weights are not among it.

    Args:
        path: File or folder.

    Raises:
        ValueError: If it cannot be read.
    """
    file = path / META if path.is_dir() else path
    if not zipfile.is_zipfile(file):
        raise GFTValueError(f"ckpt_path={path} was cut short, or is no checkpoint at all: {_REMEDY}")
    try:
        notes: dict[str, Any] = torch.load(file, map_location="meta", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise GFTValueError(
            f"ckpt_path={path} holds Python objects besides tensors, numbers and texts, which could run code and are "
            f"not loaded: {_REMEDY}"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise GFTValueError(f"ckpt_path={path} is no checkpoint ({type(error).__name__}): {_REMEDY}") from error
    return notes


def _check_archive(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        if damaged := archive.testzip():
            raise GFTValueError(f"its part {damaged} is damaged; {_REMEDY}")


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Return a checkpoint for its weights alone; what optimizers keep may be missing.

    Args:
        path: File or folder that :func:`check_checkpoint` has nothing against.
    """
    if is_sharded(path):
        return read_shards(path, optimizers=False)
    checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return checkpoint


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint under another name and then renames it: what bears its name is whole.

    It also reads folders of shards, so that one process can resume from what several ranks have written.

    Lightning writes to the machine's temporary folder, from where a file on another disk is copied, not moved; and it
    holds the whole file in memory besides.
    """

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        if "://" in str(path) or storage_options is not None:  # not a file of this machine, or not for this class
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
