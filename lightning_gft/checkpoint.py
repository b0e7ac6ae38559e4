"""Finding out before a run starts whether a checkpoint can be gone on from."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

_LIGHTNING = ("state_dict", "loops", "pytorch-lightning_version")
_REMEDY = "give a .ckpt file that Lightning wrote while training"


def check_checkpoint(path: Path) -> None:
    """Refuse a file that is no checkpoint of a training run.

    Args:
        path: File or folder; a folder is left to the strategy that wrote it.

    Raises:
        ValueError: If the file cannot be read, or holds something else.
    """
    if path.is_dir():
        if not (path / ".metadata").exists():
            raise ValueError(f"ckpt_path={path} is a folder, but no sharded checkpoint: {_REMEDY}")
        return
    if not zipfile.is_zipfile(path):
        raise ValueError(f"ckpt_path={path} was cut short, or is no checkpoint at all: {_REMEDY}")
    try:
        content = torch.load(path, map_location="meta", weights_only=True, mmap=True)
    except (RuntimeError, pickle.UnpicklingError) as error:
        raise ValueError(f"ckpt_path={path} is no checkpoint ({str(error).splitlines()[0]}): {_REMEDY}") from error
    missing = [key for key in _LIGHTNING if not isinstance(content, dict) or key not in content]
    if missing:
        raise ValueError(
            f"ckpt_path={path} holds no {', '.join(missing)}, so it is no checkpoint of a training run: {_REMEDY}; "
            "weights alone are loaded by the policy's model_name_or_path"
        )


def check_state(saved: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Refuse weights that belong to another model.

    Args:
        saved: The checkpoint's.
        own: This run's.

    Raises:
        ValueError: If names or shapes differ.
    """
    shapes = [
        f"{name} is {list(saved[name].shape)} there and {list(own[name].shape)} here"
        for name in own
        if name in saved and saved[name].shape != own[name].shape
    ]
    differences = (
        shapes
        + [f"{name} is only in the checkpoint" for name in saved if name not in own]
        + [f"{name} is only in this run" for name in own if name not in saved]
    )
    if differences:
        more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
        raise ValueError(
            f"the checkpoint belongs to another model or other settings: {differences[0]}{more}; go on with the "
            "configuration that it was written with, config.yaml beside its logs"
        )
