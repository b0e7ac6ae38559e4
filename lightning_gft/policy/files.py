"""Checking a model's folder, and naming what is missing or damaged."""

from __future__ import annotations

import json
import os
from pathlib import Path

from safetensors import SafetensorError, safe_open

from lightning_gft.errors import GFTValueError
from lightning_gft.hub import check_local

_TOKENIZERS = ("*token*", "vocab*", "*.model", "*.spm", "tekken.json")


def check_folder(path: str, revision: str, where: str) -> None:
    """Check that a local path is a model's folder, before the hub is asked for it.

    Args:
        path: Folder or hub name.
        revision: Revision on the hub.
        where: Setting and value that name the model in errors.

    Raises:
        ValueError: If it is a missing folder or one without a model, or a folder is given with a revision.
    """
    check_local(path, where)
    folder = Path(path)
    if not os.path.exists(path):  # noqa: PTH110  # false for a name that is too long
        return
    if not folder.is_dir():
        raise GFTValueError(f"{where}: expected a folder, got a file; give the folder that holds it")
    if revision != "main":
        raise GFTValueError(
            f"`revision`: expected main for a folder, got {revision!r} with {where}; revisions exist on the hub alone: "
            "leave revision out"
        )
    if (folder / "adapter_config.json").is_file():
        raise GFTValueError(
            f"{where}: expected a model, got an adapter; give the model that it belongs to, and the adapter as "
            "lora.adapter_path"
        )
    if not (folder / "config.json").is_file():
        raise GFTValueError(
            f"{where}: expected a model, got a folder that holds no config.json; give a folder written by "
            "save_pretrained"
        )


def check_tokenizer_files(path: str, where: str) -> None:
    """Check that a folder holds a tokenizer; transformers would make an empty one otherwise.

    Args:
        path: Folder or hub name; a hub name is not checked.
        where: Setting and value that name the model in errors.

    Raises:
        ValueError: If it is a folder without tokenizer files.
    """
    folder = Path(path)
    if folder.is_dir() and not any(next(folder.glob(kind), None) for kind in _TOKENIZERS):
        raise GFTValueError(
            f"{where}: expected a tokenizer, got a folder that holds none; put tokenizer.json and "
            "tokenizer_config.json there, or save one there with "
            "AutoTokenizer.from_pretrained(...).save_pretrained(...)"
        )


def check_weight_files(path: str, where: str) -> None:
    """Check that a folder holds weights in safetensors.

    Args:
        path: Folder or hub name; a hub name is not checked.
        where: Setting and value that name the model in errors.

    Raises:
        ValueError: If it is a folder without safetensors files.
    """
    folder = Path(path)
    if not folder.is_dir() or next(folder.glob("*.safetensors"), None):
        return
    if pickled := next(folder.glob("*.bin"), None):
        raise GFTValueError(
            f"{where}: expected weights in safetensors, got {pickled.name} alone, a format that can run code when it "
            "is read; if you trust it, convert it once with "
            "AutoModelForCausalLM.from_pretrained(...).save_pretrained(...) into another folder"
        )
    raise GFTValueError(
        f"{where}: expected weights (model.safetensors), got a folder that holds none; download or copy the model again"
    )


def summarise(error: Exception) -> str:
    r"""Return the first line of an error, and the number of further lines.

    Example:
        >>> summarise(ValueError("does not fit:\n\tthe first\n\tthe second"))
        'does not fit: the first (and 1 more)'
    """
    first, *more = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if not (more and first.endswith(":")):
        return first
    return f"{first} {more[0]}" + (f" (and {len(more) - 1} more)" if more[1:] else "")


def damaged_files(folder: str | Path) -> list[str]:
    """Return the paths of the JSON and safetensors files in a folder that cannot be read, such as partial downloads.

    Args:
        folder: Folder; a missing one, or a hub name, has no files.

    Example:
        >>> damaged_files("no/such/folder")
        []
    """
    if not os.path.isdir(folder):  # noqa: PTH112  # false for a name that is too long
        return []
    paths = sorted(path for kind in ("*.json", "*.safetensors") for path in Path(folder).glob(kind))
    return [str(path) for path in paths if not _is_readable(path)]


def _is_readable(path: Path) -> bool:
    try:
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        else:
            with safe_open(path, framework="pt"):
                pass
    except (ValueError, SafetensorError):
        return False
    return True
