"""Prints advice and formats it as rows of a file."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any, NamedTuple

from lightning.pytorch.utilities import rank_zero_only


class AdviceLine(NamedTuple):
    """A piece of advice.

    Args:
        step: Optimizer steps taken so far.
        name: Name of the rule.
        figures: The figures behind it.
        text: One line with a figure and a remedy.
        stage: Name of the stage; empty in a run without stages.
    """

    step: int
    name: str
    figures: dict[str, float]
    text: str
    stage: str = ""

    def row(self) -> dict[str, Any]:
        """Return the advice as a row of ``advice.jsonl``."""
        row = self._asdict()
        return row if self.stage else {name: row[name] for name in row if name != "stage"}


@rank_zero_only
def print_advice(line: AdviceLine) -> None:
    """Print advice in one line, above a progress bar if there is one."""
    where = f" of stage {line.stage}" if line.stage else ""
    with suppress(OSError):  # the reader of the lines is gone, which must not end the run
        print(f"Advice at step {line.step}{where} ({line.name}): {line.text}", file=sys.stderr, flush=True)
