"""Groups that were kept of a run, with their tokens in colour."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_gft.report.runs import Run


def samples_section(runs: Sequence[Run]) -> str:
    """Return the groups that were kept of each run, in HTML; empty where none were."""
    return ""
