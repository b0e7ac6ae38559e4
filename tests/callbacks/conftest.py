"""Data of small predictions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.callbacks.predictions import NUM_ROWS


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Return a file of rows, of which some have no teacher's response, and one column mixes types."""
    path = tmp_path / "rows.jsonl"
    lines = [
        {"prompt": f"{n}+1=", "answer": n + 1, "teacher": [str(n)] * (n % 3), "given": "007" if n % 2 else n}
        for n in range(NUM_ROWS)
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path
