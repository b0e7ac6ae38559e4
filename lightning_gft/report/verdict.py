"""What each run did to accuracy, to diversity and to what the policy knew before: a sentence and a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lightning_gft.report.figures import most_draws
from lightning_gft.report.markup import run_heads, table
from lightning_gft.report.measures import Measure, Reference, measure, reference
from lightning_gft.report.runs import Run
from lightning_gft.report.scales import figure
from lightning_gft.report.sentences import sentence
from lightning_gft.report.text import escape

_CAPTION = "The last validation of each run. ± is a standard error over prompts."


@dataclass(frozen=True)
class _Row:
    """A figure in words.

    Args:
        title: What to call it.
        figure: Its name within an evaluation.
        about: What it is.
        dataset: Of which data set.
        good: 1 where more is better, -1 where less is, 0 where it depends.
    """

    title: str
    figure: str
    about: str
    dataset: str = ""
    good: int = 0


def verdict_section(runs: Sequence[Run]) -> str:
    """Return a sentence about each run, and a table of what was measured last."""
    if not any(measure(run, "greedy_accuracy") for run in runs):
        return '<p class="note">No run has finished a validation yet, so there is nothing to say of its accuracy.</p>'
    draws = most_draws(runs)
    told = [f'<li class="s{place}">{sentence(run, runs, draws)}</li>' for place, run in enumerate(runs)]
    rows = [row for row in _rows(runs, draws) if any(measure(run, row.figure, row.dataset) for run in runs)]
    compared = [_compared(run, runs) for run in runs]
    heads = [f"{head}{_against(of)}" for head, of in zip(run_heads(runs), compared, strict=True)]
    body = [[_title(row), *(_cell(run, row, of) for run, of in zip(runs, compared, strict=True))] for row in rows]
    measured = table(["figure", *heads], body, caption=_CAPTION, kind="measured")
    return f'<ul class="verdict">{"".join(told)}</ul>\n{measured}'


def _rows(runs: Sequence[Run], draws: Sequence[int]) -> list[_Row]:
    """Return the table's rows: accuracy, diversity, how far the policy has moved, and what it may have forgotten."""
    rows = [_Row("greedy accuracy", "greedy_accuracy", "prompts whose most likely answer is right", good=1)]
    for k in draws:
        rows += [
            _Row(f"mean@{k}", f"mean@{k}", "samples that are right", good=1),
            _Row(f"pass@{k}", f"pass@{k}", f"prompts that at least one of {k} samples solves", good=1),
            _Row(f"maj@{k}", f"maj@{k}", f"prompts that the commonest answer of {k} samples solves", good=1),
        ]
    rows.append(_Row("entropy", "entropy", "how undecided the policy is at a token, in nats; near 0 samples are alike"))
    for name in dict.fromkeys(name for run in runs for name in run.datasets):
        about = "greedy accuracy on other data; falls where the policy forgets"
        rows.append(_Row(name, "greedy_accuracy", about, name, good=1))
    rows.append(_Row("KL to the start", "kl", "how far its samples are from the start's, in nats a token"))
    rows.append(_Row("KL of the start", "kl_start", "the same on the start's samples; grows as it forgets", good=-1))
    return [*rows, _Row("response length", "response_length", "tokens of a sample")]


def _compared(run: Run, runs: Sequence[Run]) -> Reference | None:
    """Return what the table compares a run with: all others with the first, which has its own start."""
    first = runs[0]
    return Reference(first, -1, first.name, is_start=not first.trained) if run is not first else reference(run, runs)


def _title(row: _Row) -> str:
    return f"{escape(row.title)}<small>{escape(row.about)}</small>"


def _against(other: Reference | None) -> str:
    return f"<small>against {escape(other.name)}</small>" if other else ""


def _cell(run: Run, row: _Row, other: Reference | None) -> str:
    now = measure(run, row.figure, row.dataset)
    if now is None:
        return "&ndash;"
    error = "" if now.error is None else f' <small class="error">± {figure(now.error)}</small>'
    then = measure(other.run, row.figure, row.dataset, other.place) if other else None
    return f"{figure(now.value)}{error}{'' if then is None else _difference(now, then, row.good)}"


def _difference(now: Measure, then: Measure, good: int) -> str:
    change = now.value - then.value
    kind = "same" if not good or now.same(then) else "better" if change * good > 0 else "worse"
    mark = {"better": "▲ ", "worse": "▼ "}.get(kind, "") if good > 0 else ""
    text = f"{'+' if change >= 0 else '−'}{figure(abs(change))}"  # noqa: RUF001 (a minus sign, as wide as a plus)
    return f'<small class="{kind}">{mark}{text}</small>'
