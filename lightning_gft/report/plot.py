"""Runs side by side, as curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightning_gft.report.figures import Figure
from lightning_gft.report.runs import Run

_COLUMNS = 4


def save_plot(runs: Sequence[Run], panels: Sequence[Figure], output: Path) -> None:
    """Save one panel a figure; a first run that was only measured is a dashed line, from which the others begin."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = -(-len(panels) // _COLUMNS)
    fig, axes = plt.subplots(rows, _COLUMNS, figsize=(3.2 * _COLUMNS, 2.7 * rows), layout="constrained", squeeze=False)
    for axis, figure in zip(axes.flat, panels, strict=False):
        start = [] if runs[0].trained else [(0, value) for _, value in runs[0].series(figure.key)[:1]]
        for number, run in enumerate(runs):
            if not run.trained and run is runs[0]:
                for _, value in start:
                    axis.axhline(value, color=f"C{number}", linestyle="--", label=run.name)
            elif series := run.series(figure.key):
                began = start if series[0][0] > 0 else []
                mark = "." if len(series) == 1 else None
                axis.plot(*zip(*began, *series, strict=True), color=f"C{number}", label=run.name, marker=mark)
        axis.set_title(figure.title)
        axis.set_xlabel("step")
        if figure.log:
            axis.set_yscale("log")
        axis.grid(alpha=0.3)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    handles = {
        label: handle for axis in axes.flat for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    if handles:
        fig.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=len(runs))
    output.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(output, dpi=120)
    plt.close(fig)
