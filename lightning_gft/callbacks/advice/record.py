"""Advice on the terminal and on disk."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
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


@rank_zero_only
def tell(said: Said) -> None:
    """Say it in one line, above a progress bar if there is one."""
    where = f" of stage {said.stage}" if said.stage else ""
    with suppress(OSError):  # whatever reads the lines has left: no reason to lose the run
        print(f"Advice at step {said.step}{where} ({said.name}): {said.text}", file=sys.stderr, flush=True)


def write(path: Path | None, given: Sequence[Said]) -> None:
    """Write all that has been said, in the place of what a run that was killed has said after its last checkpoint."""
    if path is None or not (given or path.exists()):
        return
    lines = [json.dumps(_line(said), ensure_ascii=False) + "\n" for said in given]
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.tmp")
    unfinished.write_text("".join(lines), encoding="utf-8")
    unfinished.replace(path)


def _line(said: Said) -> dict[str, Any]:
    stage = {"stage": said.stage} if said.stage else {}
    return {"step": said.step, "name": said.name, "figures": said.figures, "text": said.text, **stage}
