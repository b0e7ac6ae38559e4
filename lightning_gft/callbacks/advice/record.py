"""Advice on the terminal and on disk."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any, NamedTuple

from lightning.pytorch.utilities import rank_zero_only


class Said(NamedTuple):
    """A piece of advice.

    Args:
        step: Optimizer steps taken by then.
        name: The rule's.
        figures: What it goes by.
        text: One line.
        stage: Name of the stage; empty in a run without stages.
    """

    step: int
    name: str
    figures: dict[str, float]
    text: str
    stage: str = ""

    def row(self) -> dict[str, Any]:
        """Return it as a row of ``advice.jsonl``."""
        row = self._asdict()
        return row if self.stage else {name: row[name] for name in row if name != "stage"}


@rank_zero_only
def tell(said: Said) -> None:
    """Say it in one line, above a progress bar if there is one."""
    where = f" of stage {said.stage}" if said.stage else ""
    with suppress(OSError):  # whatever reads the lines has left: no reason to lose the run
        print(f"Advice at step {said.step}{where} ({said.name}): {said.text}", file=sys.stderr, flush=True)
