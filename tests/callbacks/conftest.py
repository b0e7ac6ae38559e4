"""Data of small predictions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.callbacks.predictions import write_rows


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return write_rows(tmp_path)
