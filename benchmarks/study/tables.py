"""The tables of a plan. Means are over the seeds whose runs have finished; how many those are stands in each row."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

import pandas as pd

from benchmarks.study import outcome as rows_of
from benchmarks.study.markdown import NOTHING, Table, difference, interval, rate
from benchmarks.study.matched import matched
from benchmarks.study.outcome import Contestant, Outcome, budgets, reached, seeds_mean, tests, validations
from benchmarks.study.plateau import LAST, WINDOW, find_plateau
from benchmarks.study.stability import WORKS, assess
from benchmarks.study.statistics import LEVEL, estimate, paired

SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Budgets of sequences, as shares of a run."""

SECONDS_SHARES = (0.25, 0.5, 1.0)
"""Budgets of seconds, as shares of the run that took the fewest."""

MEAN = "mean ± half of the 95% interval over seeds"


def all_tables(outcome: Outcome, names: Collection[str] = ()) -> dict[str, Table]:
    """Return the tables of a plan by name; those about learning rates only where the plan has tried some.

    Args:
        outcome: What has come of the plan.
        names: Those to make; by default all.
    """
    makers: dict[str, Callable[[Outcome], Table]] = {
        "final": final,
        "differences": differences,
        "matched": equally_accurate,
        "sequences": sequences,
        "seconds": seconds,
        "plateau": plateau,
    }
    if len(outcome.tuning):
        makers["stability"] = stability
    return {name: make(outcome) for name, make in makers.items() if not names or name in names}


def final(outcome: Outcome) -> Table:
    """Return the table of tests at the end."""
    test_k, val_k = outcome.test_samples, outcome.samples
    columns = {
        "greedy": "greedy_accuracy",
        f"mean@{test_k}": "mean",
        f"pass@{val_k}": f"pass@{val_k}",
        f"pass@{test_k}": f"pass@{test_k}",
        "entropy": "entropy",
        "KL(policy‖base)": "kl",
        "KL(base‖policy)": "kl_start",
        **outcome.plan.beside,
    }
    lines = [*_before_training(outcome, columns)]
    for contestant, rows, about in _contestants(outcome):
        chosen = outcome.choices.get(contestant)
        tested = tests(rows)
        figures = [interval(seeds_mean(tested, figure)) for figure in columns.values()]
        lines.append([about[0], rate(chosen) if chosen else NOTHING, *figures, *about[1:]])
    caption = (
        f"Test at the end of training, {test_k} samples a prompt: {MEAN}. The base's row is the validation before "
        f"training, {val_k} samples a prompt."
    )
    return Table(caption, ["method", "learning rate", *columns, "finished", "failed"], lines)


def differences(outcome: Outcome) -> Table:
    """Return the table of differences to the reference method, seed by seed."""
    test_k = outcome.test_samples
    columns = {
        "greedy": "greedy_accuracy",
        f"mean@{test_k}": "mean",
        f"pass@{test_k}": f"pass@{test_k}",
        "entropy": "entropy",
        "KL(base‖policy)": "kl_start",
        **outcome.plan.beside,
    }
    lines, compared = [], 0
    for rows, reference, about in _rivals(outcome):
        own, other = tests(rows), tests(reference)
        both = len(own.index.intersection(other.index))
        cells = [
            difference(paired(own[figure], other[figure])) if figure in own else NOTHING for figure in columns.values()
        ]
        lines.append([about[0], *cells, str(both), about[2]])
        compared += _count(cells)
    caption = (
        f"Difference to {_reference_name(outcome)}, seed by seed: mean, half of the 95% interval, and p of a paired "
        f"t-test. {_chance(compared)}"
    )
    return Table(caption, ["method", *columns, "seeds of both", "failed"], lines)


def equally_accurate(outcome: Outcome) -> Table:
    """Return the table of what is lost, compared with the reference method where both are equally accurate."""
    columns = {
        **outcome.plan.beside,
        "KL(policy‖base)": "kl",
        "KL(base‖policy)": "kl_start",
        "entropy": "entropy",
        "sequences": "sequences",
    }
    lines, compared = [], 0
    for rows, reference, about in _rivals(outcome):
        both = matched(rows, reference)
        cells = [_matched_difference(both, figure) for figure in columns.values()]
        level = interval(estimate(both["own", "mean"] if len(both) else ()))
        lines.append([about[0], level, *cells, _early(both), str(len(both)), about[2]])
        compared += _count(cells)
    caption = (
        f"At equal accuracy: for each seed both methods are taken where their mean@{outcome.samples} on validation "
        f"prompts first reaches the highest value that both reach. The first column has that value, the others the "
        f"difference to {_reference_name(outcome)} there, with half of the 95% interval and p of a paired t-test. "
        "Figures lie on the straight line between two validations; `early` counts the seeds of which one method is "
        f"compared on the line from the base to its first validation. {_chance(compared)}"
    )
    return Table(caption, ["method", f"mean@{outcome.samples}", *columns, "early", "seeds of both", "failed"], lines)


def sequences(outcome: Outcome) -> Table:
    """Return the table of accuracy at equal numbers of sequences."""
    places = budgets(outcome.plan.length, SHARES)
    lines = []
    for _, rows, about in _contestants(outcome):
        lines.append([about[0], *(interval(reached(rows, "mean", budget)) for budget in places), *about[1:]])
    caption = f"mean@{outcome.samples} on validation prompts after equally many sequences: {MEAN}."
    return Table(caption, ["method", *(f"{budget:,.0f}" for budget in places), "finished", "failed"], lines)


def seconds(outcome: Outcome) -> Table:
    """Return the table of accuracy at equal training time."""
    whole = {contestant: outcome.run_seconds(contestant) for contestant in outcome.contestants()}
    places = budgets(min((run.mean for run in whole.values() if run.count), default=0.0), SECONDS_SHARES)
    lines = []
    for contestant, rows, about in _contestants(outcome):
        trained = [outcome.trained_after(contestant, place) for place in places] if whole[contestant].count else []
        cells = [interval(reached(rows, "mean", budget)) for budget in trained] or [NOTHING] * len(places)
        lines.append([about[0], *cells, interval(whole[contestant], digits=0), *about[1:]])
    unit = "seconds of the processor" if outcome.clock == "processor_seconds" else "seconds by the clock"
    source = f" Times are those of `plans/{outcome.plan.times_of}.yaml`." if outcome.plan.times_of else ""
    caption = (
        f"mean@{outcome.samples} on validation prompts after equally long training, in {unit} without evaluations: "
        f"{MEAN}.{source} The fastest method's run sets the longest budget; the seconds of a whole run stand beside it."
    )
    columns = ["method", *(f"{place:,.3g} s" for place in places), "a whole run, s", "finished", "failed"]
    return Table(caption, columns, lines)


def plateau(outcome: Outcome) -> Table:
    """Return the table of how far methods rise, and whether they had stopped."""
    lines = []
    for _, rows, about in _contestants(outcome):
        found = find_plateau(validations(rows))
        cells = (
            [interval(found.height), f"{found.sequences:,.0f}", f"{found.trend} ({interval(found.gain)})"]
            if found
            else [NOTHING] * 3
        )
        lines.append([about[0], *cells, *about[1:]])
    caption = (
        f"mean@{outcome.samples} over the highest stretch of {WINDOW} validations in a row, found on the mean curve of "
        f"all seeds: {MEAN}. In brackets what the straight line through the last {LAST} validations gains over them; "
        "where the interval of that contains zero, the runs show no rise."
    )
    return Table(caption, ["method", "highest", "at sequences", "at the end", "finished", "failed"], lines)


def stability(outcome: Outcome) -> Table:
    """Return the table of what learning rates do to a method."""
    lines = []
    for contestant in outcome.contestants():
        rows = rows_of.of(outcome.tuning, contestant)
        found = assess(rows, outcome.plan.learning_rates)
        basin = NOTHING
        if found.basin:
            low, high = found.basin
            basin = f"{rate(low)} to {rate(high)} ({high / low:.3g}x{' or more' if found.at_edge else ''})"
        cells = [f"{found.best:.3f}", f"{found.grad_norm:.2f}", f"{found.weight:,.1f}"]
        ended = f"{found.ended} of {len(outcome.plan.learning_rates) * len(outcome.plan.tuning_seeds)}"
        lines.append([outcome.name(contestant), *cells, basin, ended, str(found.failed), str(found.collapsed)])
    caption = (
        f"All learning rates that were tried, from {rate(min(outcome.plan.learning_rates))} to "
        f"{rate(max(outcome.plan.learning_rates))}, on other seeds ({len(outcome.plan.tuning_seeds)}). Best: "
        f"mean@{outcome.samples} at the end, at the best rate. Rates that work: those around the best that end at "
        f"{WORKS:.0%} of it or above. The largest weight is that of any source; own samples count at 1/p, though they "
        "are drawn from p. A run has collapsed if it ends below where it began."
    )
    columns = ["method", "best", "largest gradient norm", "largest weight", "rates that work", "ended", "failed"]
    return Table(caption, [*columns, "collapsed"], lines)


def _rivals(outcome: Outcome) -> Iterator[tuple[pd.DataFrame, pd.DataFrame, list[str]]]:
    """Yield the final rows of each method but the reference, the reference's, and three cells about the first."""
    for contestant, rows, about in _contestants(outcome):
        if contestant.method != outcome.plan.reference:
            yield rows, rows_of.of(outcome.final, contestant._replace(method=outcome.plan.reference)), about


def _reference_name(outcome: Outcome) -> str:
    method = outcome.plan.methods[outcome.plan.reference]
    return f"`{method.label or method.name}`"


def _count(cells: Sequence[str]) -> int:
    """Return how many cells hold a comparison."""
    return sum(cell != NOTHING for cell in cells)


def _chance(comparisons: int) -> str:
    return (
        "A difference whose interval contains zero is called none. If no method differed, about "
        f"{comparisons * (1 - LEVEL):.1f} of these {comparisons} intervals would exclude zero by chance."
    )


def _early(both: pd.DataFrame) -> str:
    if not len(both):
        return NOTHING
    return str(int((both["own", "is_early"].astype(bool) | both["other", "is_early"].astype(bool)).sum()))


def _matched_difference(both: pd.DataFrame, figure: str) -> str:
    if not len(both) or any((side, figure) not in both for side in ("own", "other")):
        return NOTHING
    return difference(paired(both["own", figure], both["other", figure]), digits=0 if figure == "sequences" else 3)


def _contestants(outcome: Outcome) -> Iterator[tuple[Contestant, pd.DataFrame, list[str]]]:
    """Yield contestants with their final rows and three cells: name, finished runs of those planned, failed runs."""
    for contestant in outcome.contestants():
        rows = rows_of.of(outcome.final, contestant)
        status = rows.drop_duplicates("run")["status"]
        done, failed = int((status == "finished").sum()), int((status == "failed").sum())
        yield contestant, rows, [outcome.name(contestant), f"{done} of {len(outcome.plan.seeds)}", str(failed)]


def _before_training(outcome: Outcome, columns: dict[str, str]) -> Iterator[list[str]]:
    for variant in outcome.plan.variants:
        rows = validations(outcome.final[outcome.final["variant"] == variant])
        base = rows[rows["step"] == 0].drop_duplicates("seed")
        figures = [interval(seeds_mean(base, figure)) for figure in columns.values()]
        name = ", ".join(part for part in (variant, "base") if part)
        yield [name, NOTHING, *figures, f"{len(base)} of {len(outcome.plan.seeds)}", "0"]
