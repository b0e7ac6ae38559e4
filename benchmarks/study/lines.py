"""Files of JSON lines, which whatever writes them may leave in the middle of a line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def append(file: Path, row: Mapping[str, Any]) -> None:
    """Add a line to a file.

    Args:
        file: One JSON object a line; made, with its folder, if there is none.
        row: The object.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as lines:
        lines.write(json.dumps(row) + "\n")


def read(file: Path) -> list[dict[str, Any]]:
    """Return the lines of a file, none if there is no file; a last line that was not written to its end is left out.

    Args:
        file: One JSON object a line.
    """
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]
