"""Curves by step: a chart a figure, with one line a run, or one a source where there is a single run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lightning_gft.report.bars import share_bars
from lightning_gft.report.charts import Line, line_chart
from lightning_gft.report.figures import most_draws
from lightning_gft.report.logs import Series
from lightning_gft.report.markup import charts
from lightning_gft.report.measures import NOISE, errors, key
from lightning_gft.report.runs import Run

_WIDE = 30
"""A positive figure whose values differ by more than this factor is drawn on a logarithmic scale."""
_PHASES = "train/time/"


def curves_section(runs: Sequence[Run]) -> str:
    """Return the charts of everything that is logged by step."""
    parts: dict[str, Iterable[str]] = {
        "What it learns": _learning(runs),
        "Diversity and drift": _diversity(runs),
        "What tokens weigh": _weights(runs),
        "Updates": _updates(runs),
        "Groups and responses": _groups(runs),
        "Speed": _speed(runs),
    }
    filled = {title: inside for title, made in parts.items() if (inside := charts(*made))}
    return "\n".join(f"<h3>{title}</h3>\n{inside}" for title, inside in filled.items())


def _learning(runs: Sequence[Run]) -> Iterable[str]:
    yield from _by_source(runs, "Reward", "train/reward", "mean of the responses trained on")
    yield _accuracy(runs, "Greedy accuracy", "greedy_accuracy", "validation, the most likely answer")
    for k in most_draws(runs):
        yield _accuracy(runs, f"mean@{k}", f"mean@{k}", "validation, share of samples that are right")
        yield _accuracy(runs, f"pass@{k}", f"pass@{k}", f"validation, at least one of {k} samples is right")
    for name in dict.fromkeys(name for run in runs for name in run.datasets):
        yield _accuracy(runs, f"Greedy accuracy on {name}", "greedy_accuracy", "other data: what is forgotten", name)


def _diversity(runs: Sequence[Run]) -> Iterable[str]:
    yield _evaluated(runs, "Entropy in validation", "entropy", "of a token of own samples, in nats")
    yield from _by_source(runs, "Entropy in training", "train/entropy", "of a trained token, in nats")
    yield from _by_source(runs, "Negative log-likelihood", "train/nll", "of a trained token, in nats")
    yield _evaluated(runs, "KL to the start", "kl", "on own samples, in nats a token")
    yield _evaluated(runs, "KL of the start", "kl_start", "on the start's samples, in nats a token: forgetting")


def _weights(runs: Sequence[Run]) -> Iterable[str]:
    names = {
        "1/p, largest": "train/inverse_probability_max",
        "after, largest": "train/rectified_weight_max",
        "1/p, 99%": "train/inverse_probability_p99",
        "after, 99%": "train/rectified_weight_p99",
    }
    for run in runs:
        lines = [Line(name, style, run.series(of)) for style, (name, of) in enumerate(names.items())]
        of_run = f" of {run.name}" if len(runs) > 1 else ""
        yield line_chart(f"Weights{of_run}", lines, about="of tokens, before and after rectification", log=True)
    yield from _by_source(runs, "Rectified tokens", "train/rectified_fraction", "share whose weight was changed")
    yield from _by_source(runs, "Negative tokens", "train/negative/token_fraction", "share of all")
    yield from _by_source(runs, "Weight of negative tokens", "train/negative/weight_fraction", "share of all")


def _updates(runs: Sequence[Run]) -> Iterable[str]:
    yield _plain(runs, "Gradient norm", "train/grad_norm", "before clipping")
    yield _plain(runs, "Learning rate", "train/learning_rate", "")
    yield _plain(runs, "Update ratio", "train/update_ratio", "change of the weights over the weights")
    yield _plain(runs, "KL of a step", "train/kl_step", "from the policy before the update, in nats a token")


def _groups(runs: Sequence[Run]) -> Iterable[str]:
    yield from _by_source(runs, "Length", "train/length", "tokens of a response", "train/completions/mean_length")
    yield from _by_source(
        runs, "Cut off", "train/clipped_ratio", "share of responses", "train/completions/clipped_ratio"
    )
    yield from _by_source(runs, "Advantage", "train/advantage", "mean")
    yield _plain(runs, "Groups without a difference", "train/frac_reward_zero_std", "share whose rewards are all equal")
    yield _plain(runs, "Different answers in a group", "train/distinct_answers", "")


def _speed(runs: Sequence[Run]) -> Iterable[str]:
    yield share_bars("Where the time went", runs, _PHASES, "share of the time of training")
    yield _plain(runs, "Tokens a second", "train/tokens_per_second", "prompts and responses")
    yield _plain(runs, "Memory", "train/memory_gb", "GB")


def _plain(runs: Sequence[Run], title: str, of: str, about: str) -> str:
    return _lines(title, about, {run.name: run.series(of) for run in runs})


def _evaluated(runs: Sequence[Run], title: str, figure: str, about: str) -> str:
    return _plain(runs, title, key(figure), about)


def _accuracy(runs: Sequence[Run], title: str, figure: str, about: str, dataset: str = "") -> str:
    """Return a chart with intervals of 95% around each evaluation."""
    lines = [
        Line(
            run.name,
            style,
            run.series(key(figure, dataset)),
            {step: NOISE * error for step, error in errors(run, figure, dataset).items()},
        )
        for style, run in enumerate(runs)
    ]
    has_errors = any(line.margins for line in lines)
    return line_chart(title, lines, about=f"{about}{'; shaded: 95% interval' if has_errors else ''}")


def _by_source(runs: Sequence[Run], title: str, of: str, about: str, overall: str | None = None) -> Iterable[str]:
    """Yield a figure over all sources and by source: one chart of one run, else a chart each of all runs."""
    whole = overall or of
    prefix = f"{of}_by_source/"
    sources = sorted({name.removeprefix(prefix) for run in runs for name in run.figures if name.startswith(prefix)})
    if len(runs) == 1:
        by_source = {source: runs[0].series(prefix + source) for source in sources}
        yield _lines(title, about, {"all": runs[0].series(whole), **by_source} if len(sources) != 1 else by_source)
        return
    yield _plain(runs, title, whole, about)
    for source in sources:
        if len(sources) > 1:
            yield _plain(runs, f"{title}: {source}", prefix + source, about)


def _lines(title: str, about: str, series: dict[str, Series]) -> str:
    values = [value for of in series.values() for _, value in of if value == value]  # without NaN
    wide = bool(values) and min(values) > 0 and max(values) / min(values) > _WIDE
    lines = [Line(name, style, of) for style, (name, of) in enumerate(series.items())]
    return line_chart(
        title, lines, about=f"{about}{', ' if about and wide else ''}{'log scale' if wide else ''}", log=wide
    )
