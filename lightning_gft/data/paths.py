"""What a path to data may be, and checks of what it is not."""

from __future__ import annotations

import os
from pathlib import Path

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from lightning_gft.data.files import KINDS
from lightning_gft.errors import GFTValueError

SOURCES = (
    f"a {', '.join(list(KINDS)[:-1])} or {list(KINDS)[-1]} file, a glob or folder of them, a folder written by "
    "`save_to_disk` or by `lightning-gft predict`, or the name of a data set on the hub"
)
"""What can be loaded, for errors."""


def check_path(field: str, path: str | os.PathLike[str]) -> None:
    """Raise an error for an empty path, which the system would take for the current folder.

    Raises:
        ValueError: If the path is empty.

    Example:
        >>> check_path("path", "rows.jsonl")
    """
    if not os.fspath(path).strip():
        raise GFTValueError(f"`{field}`: expected data, got an empty text; give {SOURCES}")


def check_not_model(folder: Path, where: str) -> None:
    """Raise an error for a folder with a model's weights, whose settings would be read as rows.

    Raises:
        ValueError: If the folder has a model's settings and weights.

    Example:
        >>> check_not_model(Path("no/such/folder"), "`path`")
    """
    settings = [name for name in ("config.json", "adapter_config.json") if (folder / name).is_file()]
    weights = sorted(file.name for file in folder.glob("*.safetensors"))
    if settings and weights:
        raise GFTValueError(
            f"{where}: expected data, got a model's folder, with {settings[0]} and {weights[0]}; give {SOURCES}"
        )


def address_fault(path: str, where: str) -> str:
    """Return the error message of an address, from which nothing is loaded.

    Example:
        >>> address_fault("hf://datasets/openai/gsm8k", "`path`")
        "`path`: expected a name on the hub without 'hf://datasets/', as in 'openai/gsm8k'"
    """
    scheme, _, rest = path.partition("://")
    if scheme == "hf" and rest.startswith("datasets/"):
        return f"{where}: expected a name on the hub without 'hf://datasets/', as in {'/'.join(rest.split('/')[1:3])!r}"
    return f"{where}: expected local data, got an address ({scheme}); copy the data here first and give {SOURCES}"


def may_be_on_hub(path: str) -> bool:
    """Return whether a path has the form of a name on the hub.

    Example:
        >>> may_be_on_hub("openai/gsm8k"), may_be_on_hub("data/of/mine")
        (True, False)
    """
    try:
        validate_repo_id(path)
    except HFValidationError:
        return False
    return True
