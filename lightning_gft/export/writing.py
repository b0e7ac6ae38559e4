"""Writing a folder that transformers, peft and inference engines load."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, get_args

from lightning_gft.export.card import model_card
from lightning_gft.module import GFTLitModule

Dtype = Literal["float32", "bfloat16", "float16"]


def check_target(path: Path) -> None:
    """Refuse a file or folder that holds something already, or that could not be made.

    Args:
        path: What shall be written at the end of a run.

    Raises:
        FileExistsError: If there is something.
        PermissionError: If it cannot be made.

    Example:
        >>> check_target(Path("/dev/null/policy"))
        Traceback (most recent call last):
        PermissionError: cannot write to /dev/null/policy, because /dev/null is no folder; choose another path
    """
    if is_free(path):
        existing = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    else:
        raise FileExistsError(f"{path} is there already; choose another path, or move it away")
    reason = "is no folder" if not existing.is_dir() else "" if os.access(existing, os.W_OK) else "cannot be written to"
    if reason:
        raise PermissionError(f"cannot write to {path}, because {existing} {reason}; choose another path")


def is_free(path: Path) -> bool:
    """Tell whether nothing is there, or an empty folder.

    Args:
        path: What shall be written.

    Example:
        >>> is_free(Path("/dev"))
        False
    """
    return not path.exists() or (path.is_dir() and not any(path.iterdir()))


def free_path(path: Path) -> Path:
    """Return a path, or one with a number where something has come to be there since the run began.

    Args:
        path: What shall be written.

    Example:
        >>> free_path(Path("/dev/null")).name
        'null_1'
    """
    names = (path.with_stem(f"{path.stem}_{number}") if number else path for number in count())
    return next(path for path in names if is_free(path))


def move_to_free(made: Path, path: Path) -> Path:
    """Move a file or a folder to a path, or to one with a number where another run has been faster; return which.

    Args:
        made: What was made, on the same disk.
        path: Where it shall be.
    """
    while True:
        target = free_path(path)
        try:  # of two that want the same name only one can make it
            target.mkdir(exist_ok=True) if made.is_dir() else target.touch(exist_ok=False)
            return made.replace(target)
        except OSError:
            if is_free(target):
                raise


def export_policy(
    module: GFTLitModule,
    path: Path,
    *,
    torch_dtype: Dtype | None = None,
    merge: bool = False,
    data: object = None,
) -> Path:
    """Write weights (safetensors), configuration, tokenizer, chat template and model card.

    The folder appears when it is whole. Where another run has written to it in the meantime, a number is added.

    Args:
        module: Whose policy is written.
        path: Folder, new or empty.
        torch_dtype: Data type of the written weights; by default the one that they were trained in.
        merge: Add adapters to the weights that they belong to, in full precision, and write a plain model; else the
            adapter alone is written.
        data: The datamodule, for the card.

    Returns:
        The folder.

    Raises:
        ValueError: If ``merge`` is asked for and there are no adapters.
    """
    if merge and module.policy.adapters is None:
        raise ValueError("merge=True, but the policy has no adapters: its weights are exported as they are without it")
    merged = module.policy_loader.merge(module.policy) if merge else None
    if merge and torch_dtype is None:
        torch_dtype = _own_dtype(module)
    is_adapter = module.policy.adapters is not None and not merge
    path = path.resolve()
    place = path if path.is_dir() else path.parent  # a folder that is there may be all that can be written to
    place.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=place, prefix=".unfinished-") as unfinished:
        folder = Path(unfinished) / path.name
        module.policy.save_pretrained(folder, torch_dtype, merged)
        (folder / "README.md").write_text(model_card(module, data=data, is_adapter=is_adapter), encoding="utf-8")
        if place == path and not [other for other in path.iterdir() if other.name != Path(unfinished).name]:
            for file in sorted(
                folder.iterdir(), key=lambda file: file.name == "config.json"
            ):  # what makes it a model, last
                file.replace(path / file.name)
            return path
        return move_to_free(folder, path)


def _own_dtype(module: GFTLitModule) -> Dtype | None:
    dtype = getattr(module.policy_loader, "torch_dtype", None)
    return dtype if dtype in get_args(Dtype) else None
