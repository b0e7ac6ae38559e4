"""Plots runs side by side as curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_gft.report.figures import Figure
from lightning_gft.report.measures import with_start
from lightning_gft.report.runs import Run

_COLUMNS = 4


def save_plot(runs: Sequence[Run], panels: Sequence[Figure], output: Path) -> None:
    """Save one panel per figure; a first run that was only evaluated is a dashed line, where the others begin."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = -(-len(panels) // _COLUMNS)
    fig, axes = plt.subplots(rows, _COLUMNS, figsize=(3.2 * _COLUMNS, 2.7 * rows), layout="constrained", squeeze=False)
    handles: dict[str, Any] = {}
    for axis, figure in zip(axes.flat, panels, strict=False):
        for number, run in enumerate(runs):
            color = f"C{number}"
            series = with_start(run, runs, figure.key)
            if series and not run.trained and run is runs[0]:
                handles[run.name] = axis.axhline(series[0][1], color=color, linestyle="--")
            elif series:
                mark = "." if len(series) == 1 else None
                [handles[run.name]] = axis.plot(*zip(*series, strict=True), color=color, marker=mark)
        axis.set_title(figure.title, parse_math=False)
        axis.set_xlabel("step")
        if figure.log:
            axis.set_yscale("log")
        axis.grid(alpha=0.3)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    if handles:
        # Explicit labels, since legends otherwise skip those that begin with an underscore.
        legend = fig.legend(list(handles.values()), list(handles), loc="outside upper center", ncols=min(len(runs), 6))
        for text in legend.get_texts():
            text.set_parse_math(False)
    output.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(output, dpi=120)
    plt.close(fig)
