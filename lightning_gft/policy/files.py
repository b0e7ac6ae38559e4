"""Telling which file of a model's folder is broken."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open


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
