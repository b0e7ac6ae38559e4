"""Curves by step: a chart per figure with one line per run, or one per source for a single run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from lightning_gft.report.bars import share_bars
from lightning_gft.report.charts import LEAST_SPAN, Line, line_chart
from lightning_gft.report.figures import most_draws
from lightning_gft.report.markup import charts
from lightning_gft.report.measures import NOISE, errors, key, with_start
from lightning_gft.report.runs import Run

_WIDE = 30
"""Ratio of the largest to the smallest value from which a figure with ``wide`` gets a logarithmic scale."""
_WEIGHTS = {
    "1/p, largest": "train/inverse_probability_max",
    "after, largest": "train/rectified_weight_max",
    "1/p, 99%": "train/inverse_probability_p99",
    "after, 99%": "train/rectified_weight_p99",
}


class _Figure(NamedTuple):
    """A figure of training.

    Args:
        title: Title of the chart.
        name: Name in the log; ``_by_source/<source>`` is appended for each source.
        about: Short explanation.
        whole: Name in the log of the figure over all sources, if it is another.
        wide: Whether values that differ by orders of magnitude are drawn on a logarithmic scale.
    """

    title: str
    name: str
    about: str = ""
    whole: str = ""
    wide: bool = False


_REWARD = _Figure("Reward", "train/reward", "mean in training")
_DIVERSITY = [
    _Figure("Entropy in training", "train/entropy", "of a trained token, in nats"),
    _Figure("Negative log-likelihood", "train/nll", "of a trained token, in nats"),
]
_TOKENS = [
    _Figure("Rectified tokens", "train/rectified_fraction", "share whose weight was changed"),
    _Figure("Negative tokens", "train/negative/token_fraction", "share of all trained tokens"),
    _Figure("Weight of negative tokens", "train/negative/weight_fraction", "share of all coefficients"),
]
_UPDATES = [
    _Figure("Gradient norm", "train/grad_norm", "before clipping", wide=True),
    _Figure("Learning rate", "train/learning_rate"),
    _Figure("Update ratio", "train/update_ratio", "norm of the update over that of the weights", wide=True),
    _Figure("KL of a step", "train/kl_step", "from the policy before the update, in nats per token", wide=True),
]
_GROUPS = [
    _Figure("Length", "train/length", "tokens of a response", "train/completions/mean_length"),
    _Figure("Truncated", "train/clipped_ratio", "share of responses", "train/completions/clipped_ratio"),
    _Figure("Advantage", "train/advantage", "mean"),
    _Figure("Groups with equal rewards", "train/frac_reward_zero_std", "share of groups"),
    _Figure("Different answers", "train/distinct_answers", "in a group"),
]
_SPEED = [
    _Figure("Tokens per second", "train/tokens_per_second", "of prompts and responses"),
    _Figure("Memory", "train/memory_gb", "GB"),
]


def curves_section(runs: Sequence[Run]) -> str:
    """Return the charts of all figures that are logged by step."""
    parts = {
        "What it learns": [*_rewards(runs), *_accuracies(runs)],
        "Diversity and divergence": [*_evaluations(runs), *(_whole(runs, figure) for figure in _DIVERSITY)],
        "What tokens weigh": [*_weights(runs), *(_whole(runs, figure) for figure in _TOKENS)],
        "Updates": [_whole(runs, figure) for figure in _UPDATES],
        "Groups and responses": [_whole(runs, figure) for figure in _GROUPS],
        "Speed": [
            share_bars("Where the time went", runs, "train/time/", "share of the time of training"),
            *(_whole(runs, figure) for figure in _SPEED),
        ],
    }
    filled = {title: inside for title, made in parts.items() if (inside := charts(*made))}
    whole = "\n".join(f"<h3>{title}</h3>\n{inside}" for title, inside in filled.items())
    apart = charts(*(made for figure in (*_DIVERSITY, *_TOKENS, *_GROUPS) for made in _by_source(runs, figure)))
    return whole + (apart and f"<details><summary>By source</summary>\n{apart}</details>")


def _whole(runs: Sequence[Run], figure: _Figure) -> str:
    """Return a chart of a figure over all sources: a line per run, and for a single run also a line per source."""
    whole = figure.whole or figure.name
    if len(runs) > 1:
        return _chart(
            figure.title,
            figure.about,
            {run.name: run for run in runs},
            {run.name: whole for run in runs},
            wide=figure.wide,
        )
    sources = {source: f"{figure.name}_by_source/{source}" for source in _sources(runs, figure)}
    names = {"all": whole, **sources} if len(sources) > 1 else sources or {runs[0].name: whole}
    return _chart(figure.title, figure.about, dict.fromkeys(names, runs[0]), names, wide=figure.wide)


def _by_source(runs: Sequence[Run], figure: _Figure) -> Iterable[str]:
    """Yield a chart per source with a line per run, for several runs with several sources."""
    sources = _sources(runs, figure)
    for source in sources if len(runs) > 1 and len(sources) > 1 else []:
        of = _Figure(f"{figure.title}: {source}", f"{figure.name}_by_source/{source}", figure.about)
        yield _whole(runs, of)


def _sources(runs: Sequence[Run], figure: _Figure) -> list[str]:
    prefix = f"{figure.name}_by_source/"
    names = {name.removeprefix(prefix) for run in runs for name in run.figures if name.startswith(prefix)}
    return sorted(name for name in names if not any(name.startswith(f"{other}_") for other in names))  # subfigures


def _rewards(runs: Sequence[Run]) -> Iterable[str]:
    """Yield a chart per source, own samples first, or one of all responses if the logs name no source.

    Demonstrations have nearly constant rewards, so a mean over all sources hides how own samples change.
    """
    sources = sorted(_sources(runs, _REWARD), key=lambda name: (name != "self", name))
    for source in sources:
        title = "Reward of own samples" if source == "self" else f"Reward of demonstrations: {source}"
        name = f"{_REWARD.name}_by_source/{source}"
        yield _chart(title, _REWARD.about, {run.name: run for run in runs}, {run.name: name for run in runs})
    if not sources:
        yield _whole(runs, _REWARD)


def _accuracies(runs: Sequence[Run]) -> Iterable[str]:
    figures = [("Greedy accuracy", "greedy_accuracy", "validation, the most likely answer", "")]
    for k in most_draws(runs):
        figures += [
            (f"mean@{k}", f"mean@{k}", "validation, share of samples that are right", ""),
            (f"pass@{k}", f"pass@{k}", f"validation, at least one of {k} samples is right", ""),
            (f"maj@{k}", f"maj@{k}", f"validation, the most common of {k} answers is right", ""),
        ]
    for name in dict.fromkeys(name for run in runs for name in run.datasets):
        figures.append((f"Greedy accuracy on {name}", "greedy_accuracy", "other data: shows forgetting", name))
    for title, figure, about, dataset in figures:
        yield _measured(runs, title, figure, about, dataset, span=LEAST_SPAN)


def _evaluations(runs: Sequence[Run]) -> Iterable[str]:
    yield _measured(runs, "Entropy in validation", "entropy", "of a token of own samples, in nats")
    yield _measured(runs, "KL(policy‖base)", "kl", "divergence per token of own samples, in nats")
    yield _measured(runs, "KL(base‖policy)", "kl_start", "divergence per token of the base's samples, in nats")


def _measured(runs: Sequence[Run], title: str, figure: str, about: str, dataset: str = "", span: float = 0.0) -> str:
    """Return a chart with 95% intervals around each evaluation whose standard error is known."""
    margins = {run.name: {step: NOISE * error for step, error in errors(run, figure, dataset).items()} for run in runs}
    shaded = "; shaded: 95% interval" if any(margins.values()) else ""
    name = key(figure, dataset)
    lines = [
        Line(run.name, style, with_start(run, runs, name), margins[run.name], level=not run.trained)
        for style, run in enumerate(runs)
    ]
    return line_chart(title, lines, about=about + shaded, span=span)


def _weights(runs: Sequence[Run]) -> Iterable[str]:
    """Yield a chart per run, all with the same scale."""
    of_runs = [
        [Line(label, style, run.series(name)) for style, (label, name) in enumerate(_WEIGHTS.items(), start=4)]
        for run in runs
    ]
    values = [value for lines in of_runs for line in lines for _, value in line.points]
    log = is_wide(values)
    for run, lines in zip(runs, of_runs, strict=True):
        title = f"Weights of {run.name}" if len(runs) > 1 else "Weights"
        yield line_chart(title, lines, about="of tokens, before and after rectification", log=log, beside=values)


def _chart(title: str, about: str, runs: Mapping[str, Run], names: Mapping[str, str], wide: bool = False) -> str:
    """Return a chart with one line for each label: a run's figure. A run that was not trained is a horizontal line."""
    lines = [
        Line(label, style, run.series(names[label]), level=not run.trained)
        for style, (label, run) in enumerate(runs.items())
    ]
    log = wide and is_wide([value for line in lines for _, value in line.points])
    return line_chart(title, lines, about=about, log=log)


def is_wide(values: Sequence[float]) -> bool:
    """Return whether values need a logarithmic axis: those above zero are far apart, and none is below."""
    finite = [value for value in values if math.isfinite(value)]
    drawn = [value for value in finite if value > 0]  # a zero is a gap of the line
    return bool(drawn) and min(finite) >= 0 and max(drawn) / min(drawn) > _WIDE
