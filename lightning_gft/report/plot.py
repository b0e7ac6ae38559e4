"""Runs side by side, as curves."""

from __future__ import annotations

from pathlib import Path

from lightning_gft.report.runs import Figure, Run


def save_plot(runs: list[Run], panels: list[Figure], output: Path) -> None:
    """Save one panel a figure; the first run becomes a dashed line, from which the others' curves begin."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(2, (len(panels) + 1) // 2, figsize=(3.2 * len(panels) / 2, 5.4), layout="constrained")
    for axis, figure in zip(axes.flat, panels, strict=False):
        start = [(0, value) for _, value in runs[0].series(figure.key)[:1]]
        for number, run in enumerate(runs):
            if run is runs[0]:
                for _, value in start:
                    axis.axhline(value, color=f"C{number}", linestyle="--", label=run.name)
            elif series := start + run.series(figure.key):
                axis.plot(*zip(*series, strict=True), color=f"C{number}", label=run.name)
        axis.set_title(figure.title)
        axis.set_xlabel("step")
        if figure.key.startswith("train/rectified_weight"):
            axis.set_yscale("log")
        axis.grid(alpha=0.3)
    handles = {
        label: handle for axis in axes.flat for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    fig.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=len(runs))
    output.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(output, dpi=120)
    plt.close(fig)
