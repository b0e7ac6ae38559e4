"""Telling what is wrong with a model's folder."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from lightning_gft.errors import GFTValueError

_TOKENIZERS = ("*token*", "vocab*", "*.model", "*.spm", "tekken.json")


def check_folder(path: str, revision: str, where: str) -> None:
    """Refuse a folder that is not there or holds no model, before anyone looks for it on the hub.

    Args:
        where: Name of the model, as errors put it.

    Raises:
        ValueError: If it is a folder without a model, or one is asked for its revision.
    """
    folder = Path(path)
    if not folder.exists():
        if is_no_hub_name(path):
            raise GFTValueError(f"{where}: there is no such folder")
        return
    if not folder.is_dir():
        raise GFTValueError(f"{where} is a file; give the folder that it lies in")
    if revision != "main":
        raise GFTValueError(f"revision={revision!r} chooses on the hub, but {where} is a folder: leave revision out")
    if (folder / "adapter_config.json").is_file():
        raise GFTValueError(
            f"{where} is an adapter; give the model that it belongs to, and the adapter as lora.adapter_path"
        )
    if not (folder / "config.json").is_file():
        raise GFTValueError(
            f"{where} holds no config.json, so it is no model; give a folder written by save_pretrained"
        )


def check_tokenizer_files(path: str, where: str) -> None:
    """Refuse a folder without any tokenizer, for which transformers would make an empty one.

    Args:
        where: Name of the model, as errors put it.

    Raises:
        ValueError: If it is a folder and holds none.
    """
    folder = Path(path)
    if folder.is_dir() and not any(next(folder.glob(kind), None) for kind in _TOKENIZERS):
        raise GFTValueError(
            f"{where} holds no tokenizer: put its files there, tokenizer.json and tokenizer_config.json, or save it "
            "there by AutoTokenizer.from_pretrained(...).save_pretrained(...)"
        )


def check_weight_files(path: str, where: str) -> None:
    """Refuse a folder without weights in safetensors.

    Args:
        where: Name of the model, as errors put it.

    Raises:
        ValueError: If it is a folder and holds none.
    """
    folder = Path(path)
    if not folder.is_dir() or next(folder.glob("*.safetensors"), None):
        return
    if pickled := next(folder.glob("*.bin"), None):
        raise GFTValueError(
            f"{where} holds its weights in {pickled.name} alone, a format that can run code when it is read: where you "
            "trust it, convert it once, by AutoModelForCausalLM.from_pretrained(...).save_pretrained(...) into another "
            "folder"
        )
    raise GFTValueError(f"{where} holds no weights (model.safetensors); download or copy the model again")


def is_no_hub_name(path: str) -> bool:
    """Tell whether a text can only be a path of this machine.

    Example:
        >>> is_no_hub_name("runs/mine/model"), is_no_hub_name("/model"), is_no_hub_name("Qwen/Qwen2.5-0.5B")
        (True, True, False)
    """
    return path.startswith(("/", ".", "~")) or path.rstrip("/").count("/") > 1


def in_a_line(error: Exception) -> str:
    r"""Return what an error says first, and how much more there is.

    Example:
        >>> in_a_line(ValueError("does not fit:\n\tthe first\n\tthe second"))
        'does not fit: the first (and 1 more)'
    """
    first, *more = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if not (more and first.endswith(":")):
        return first
    return f"{first} {more[0]}" + (f" (and {len(more) - 1} more)" if more[1:] else "")


def damaged_files(folder: str | Path) -> list[str]:
    """Return the paths of the JSON and safetensors files in a folder that cannot be read, such as half a download.

    Args:
        folder: May be absent, or a name on the hub; then nothing is found.

    Example:
        >>> damaged_files("no/such/folder")
        []
    """
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
