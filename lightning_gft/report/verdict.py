"""The verdict on each run, in a sentence and a table: accuracy, diversity, and what the policy knew before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lightning_gft.report.figures import most_draws
from lightning_gft.report.markup import run_heads, table
from lightning_gft.report.measures import Measure, Reference, measure, reference, validations
from lightning_gft.report.runs import Run
from lightning_gft.report.scales import figure, number, share
from lightning_gft.report.sentences import sentence
from lightning_gft.report.text import escape

_CAPTION = (
    "The last validation of each run, and below it the difference from the evaluation it is compared with; differences "
    "of shares in points. ± is a standard error over prompts."
)


@dataclass(frozen=True)
class _Row:
    """A row of the table.

    Args:
        title: Title of the row.
        figure: Name of the figure within an evaluation.
        about: Short explanation.
        dataset: Data set of the evaluation; empty for the main one.
        good: 1 if higher values are better, -1 if lower ones are, 0 if it depends.
        share: Whether the figure is a share, shown in percent.
    """

    title: str
    figure: str
    about: str
    dataset: str = ""
    good: int = 0
    share: bool = False


def verdict_section(runs: Sequence[Run]) -> str:
    """Return a sentence about each run, and a table of its last evaluation."""
    if not any(map(validations, runs)):
        return '<p class="note">No run has finished a validation yet, so its accuracy is not known.</p>'
    draws = most_draws(runs)
    told = [f'<li class="s{place}">{sentence(run, runs, draws)}</li>' for place, run in enumerate(runs)]
    rows = [row for row in _rows(runs, draws) if any(measure(run, row.figure, row.dataset) for run in runs)]
    compared = [_compared(run, runs) for run in runs]
    heads = [f"{head}{_about(run, of)}" for head, run, of in zip(run_heads(runs), runs, compared, strict=True)]
    body = [[_title(row), *(_cell(run, row, of) for run, of in zip(runs, compared, strict=True))] for row in rows]
    measured = table(
        ["figure", *heads], body, caption=_CAPTION, kind="measured", whose=run_heads(runs) if len(runs) > 1 else ()
    )
    return f'<ul class="verdict">{"".join(told)}</ul>\n{measured}'


def _rows(runs: Sequence[Run], draws: Sequence[int]) -> list[_Row]:
    """Return the table's rows: accuracy, diversity, distance from the start, and accuracy on other data."""
    rows = [_Row("greedy accuracy", "greedy_accuracy", "prompts whose most likely answer is right", good=1, share=True)]
    for k in draws:
        rows += [
            _Row(f"mean@{k}", f"mean@{k}", "samples that are right", good=1, share=True),
            _Row(f"pass@{k}", f"pass@{k}", f"prompts that at least one of {k} samples solves", good=1, share=True),
            _Row(
                f"maj@{k}", f"maj@{k}", f"prompts that the commonest answer of {k} samples solves", good=1, share=True
            ),
        ]
    rows.append(_Row("entropy", "entropy", "uncertainty per token, in nats; near 0 all samples are alike"))
    for name in dict.fromkeys(name for run in runs for name in run.datasets):
        about = "greedy accuracy on other data; falls if the policy forgets"
        rows.append(_Row(name, "greedy_accuracy", about, name, good=1, share=True))
    rows.append(_Row("KL(policy‖base)", "kl", "divergence per token of own samples, in nats"))
    rows.append(_Row("KL(base‖policy)", "kl_start", "divergence per token of the base's samples, in nats", good=-1))
    return [*rows, _Row("response length", "response_length", "tokens of a sample")]


def _compared(run: Run, runs: Sequence[Run]) -> Reference | None:
    """Return the evaluation that the table compares with: the first run's, or that run's own start."""
    return reference(run, runs) if run is runs[0] else Reference(runs[0], runs[0].name)


def _title(row: _Row) -> str:
    return f"{escape(row.title)}<small>{escape(row.about)}</small>"


def _about(run: Run, other: Reference | None) -> str:
    """Return the step of a run's last validation, and the evaluation it is compared with."""
    steps = validations(run)
    when = f"step {steps[-1]:,}" if run.trained and steps else ""
    told = ", ".join(filter(None, [when, f"against {escape(other.name)}" if other and steps else ""]))
    return told and f"<small>{told}</small>"


def _cell(run: Run, row: _Row, other: Reference | None) -> str:
    now = measure(run, row.figure, row.dataset)
    if now is None:
        return "&ndash;"
    if not now.finite:
        return "not a number" if number(now.value) == "-" else number(now.value)
    value = share(now.value, digits=1) if row.share else figure(now.value)
    error = "" if now.error is None else f' <small class="error">± {_size(now.error, row)}</small>'
    late = "" if now.step == validations(run)[-1] else f"<small>at step {now.step:,}</small>"
    then = measure(other.run, row.figure, row.dataset, other.step) if other else None
    return f"{value}{error}{late}{_difference(now, then, row) if then and then.finite else ''}"


def _difference(now: Measure, then: Measure, row: _Row) -> str:
    change, clear = now.value - then.value, now.change(then) * row.good
    kind = {1: "better", -1: "worse"}.get(clear, "same")
    mark = {"better": "▲ ", "worse": "▼ "}.get(kind, "") if row.good > 0 else ""
    text = f"{'+' if change >= 0 else '−'}{_size(abs(change), row)}"  # noqa: RUF001 (a minus sign, as wide as a plus)
    return f'<small class="{kind}">{mark}{text}</small>'


def _size(value: float, row: _Row) -> str:
    """Return the size of a difference, in points for shares."""
    return f"{100 * value:.1f}" if row.share else figure(value)
