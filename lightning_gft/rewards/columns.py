"""Finds the columns of the data that a reward's settings name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_gft.errors import GFTValueError


def named_column(columns: Mapping[str, Any], name: str, setting: str) -> Any:
    """Return a column, or its entry in one row.

    Args:
        setting: The setting that names the column, for the error.

    Raises:
        ValueError: If the data has no such column.

    Example:
        >>> named_column({"tests": ["assert f(1)"]}, "tests", setting="tests_column")
        ['assert f(1)']
    """
    if name not in columns:
        there = f" ({', '.join(columns)}), got {name!r}; name one of these"
        alone = f", got {name!r}, and no columns are given; give them by name beside prompts, responses and references"
        raise GFTValueError(f"`{setting}`: expected a column of the data{there if columns else alone}")
    return columns[name]
