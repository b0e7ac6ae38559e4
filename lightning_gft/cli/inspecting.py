"""Prints the report of the data."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lightning_gft.checks import shorten
from lightning_gft.cli.texts import indented, reward_line, short, short_or_dash
from lightning_gft.inspection import DataReport
from lightning_gft.inspection.report import Counted, DataSetReport, Lengths, Rendered, RewardReport, Token, Verdict

_BARS = "▁▂▃▄▅▆▇█"


def print_report(report: DataReport, show: int) -> None:
    """Print a report of the data; lists of examples show the first ``show``."""
    console = Console(file=sys.stdout, soft_wrap=True)
    console.print(_datasets(report.datasets))
    if any(dataset.prompts for dataset in report.datasets):
        console.print(_lengths(report.datasets))
    for table in (_left_out(report.datasets), _verdicts(report), _counted(report.figures), _steps(report)):
        if table.row_count:
            console.print(table)
    for verdict in report.verdicts:
        _print_wrong(console, verdict, show)
    for rendered in report.rendered:
        _print_rendered(console, rendered)
    for warning in report.warnings:
        console.print(Text(f"warning: {warning}"))
    for problem in report.problems:
        console.print(Text(f"error: {problem}", style="red"))
    outcome = "would stop the run: see the errors above" if report.problems else "nothing found that would stop the run"
    console.print(Text(f"The data: {outcome}"))


def _datasets(datasets: Sequence[DataSetReport]) -> Table:
    table = Table("data", "rows", "used", "repeated prompts", "prompts also in train", title="Rows")
    for each in datasets:
        shared = "-" if each.name == "train" else _rows(each.shared)
        table.add_row(each.name, str(each.rows), str(each.used), _rows(each.repeated), shared)
    return table


def _lengths(datasets: Sequence[DataSetReport]) -> Table:
    table = Table("", "number", "min", "median", "95%", "max", "min to max", title="Lengths in tokens")
    for dataset in datasets:
        named = {"prompts": dataset.prompts, **dataset.demonstrations}
        for name, lengths in named.items():
            if lengths is not None:
                numbers = [lengths.count, lengths.least, short(lengths.median), short(lengths.q95), lengths.most]
                table.add_row(f"{dataset.name} {name}", *map(str, numbers), _bars(lengths))
    return table


def _bars(lengths: Lengths) -> str:
    most = max(lengths.histogram)
    return "".join(_BARS[-(-count * (len(_BARS) - 1) // most)] if count else " " for count in lengths.histogram)


def _left_out(datasets: Sequence[DataSetReport]) -> Table:
    table = Table("data", "left out or missing", "number", "rows", title="Omitted data, with the reasons")
    for dataset in datasets:
        for reason, counted in dataset.dropped.items():
            table.add_row(dataset.name, reason, str(counted.count), _listed(counted))
    return table


def _verdicts(report: DataReport) -> Table:
    table = Table("demonstrations", "reward", "mean", "right", "of", title="Rewards of the data's own answers")
    for verdict in report.verdicts:
        name = f"{verdict.stage} {verdict.role}".strip()
        for reward, said in verdict.rewards.items():
            table.add_row(name, _named(reward, verdict), *_score_cells(said))
        table.add_row(name, "total", short(verdict.total), "", str(verdict.count))
    return table


def _named(reward: str, verdict: Verdict) -> str:
    return f"{reward} (decides what is right)" if reward == verdict.measured_by else reward


def _score_cells(said: RewardReport) -> tuple[str, str, str]:
    return short_or_dash(said.mean), str(said.right), str(said.applies)


def _counted(figures: Mapping[str, float]) -> Table:
    table = Table("counted", "number", title="Counts of the rewards while they scored")
    for name, value in figures.items():
        table.add_row(name, short(value))
    return table


def _steps(report: DataReport) -> Table:
    table = Table(title="A training step of one rank", show_header=False)
    for step in report.steps:
        for name, words in step.sources.items():
            table.add_row(f"{step.stage} source {name}".strip(), words)
        table.add_row(f"{step.stage} group".strip(), f"{step.group_size} responses")
        table.add_row("prompts, responses", f"{step.prompts}, at most {step.sequences}")
        tokens = f"at most {step.tokens}, {step.longest} in the longest sequence"
        table.add_row("tokens, with each response's prompt", tokens)
        table.add_row("micro-batches", f"at most {step.micro_batches}")
        table.add_row("steps per epoch", str(step.steps))
    return table


def _print_wrong(console: Console, verdict: Verdict, show: int) -> None:
    name = f"{verdict.stage} {verdict.role}".strip()
    title = f"{verdict.measured_by}: {verdict.right} of {verdict.count} {name} demonstrations are right"
    console.print(Text(title, style="bold"))
    for wrong in verdict.examples[:show]:
        console.print(
            Text(f"  row {wrong.row}: {reward_line(wrong.rewards)}; reference {shorten(wrong.reference)}; text:")
        )
        console.print(Text(indented(wrong.text)))
    if verdict.wrong > show:
        more = f"... and {verdict.wrong - show} others" if show else f"{verdict.wrong} are not"
        rows = Counted(verdict.wrong, [wrong.row for wrong in verdict.examples[show:]])
        console.print(Text(f"  {more} (rows {_listed(rows)})" if rows.rows else f"  {more}"))


def _print_rendered(console: Console, rendered: Rendered) -> None:
    console.print(Text(f"Row {rendered.row} as the policy reads it; reference {shorten(rendered.reference)}", "bold"))
    console.print(Text(indented(rendered.prompt)))
    for role, texts in rendered.responses.items():
        for text in texts:
            console.print(Text(f"  [{role} response begins here]", style="cyan"))
            console.print(Text(indented(text), style="cyan"))
    before = _ends([], rendered.last_prompt_tokens, rendered.num_tokens["prompt"])
    for role, first in rendered.first_tokens.items():
        answer = _ends(first, rendered.last_tokens[role], rendered.num_tokens[role])
        console.print(Text(f"  tokens: {before} | {answer} ({role})"))


def _ends(first: Sequence[Token], last: Sequence[Token], count: int) -> str:
    """Return the first and the last of a text's tokens, without repeating any."""
    if (twice := len(first) + len(last) - count) >= 0:
        return _tokens([*first, *last[twice:]])
    return f"{_tokens(first)} ... {_tokens(last)}".strip()


def _tokens(tokens: Sequence[Token]) -> str:
    return " ".join(f"{token.text!r}={token.id}" for token in tokens)


def _rows(counted: Counted) -> str:
    return f"{counted.count} (rows {_listed(counted)})" if counted.count else "0"


def _listed(counted: Counted, most: int = 5) -> str:
    rows: list[Any] = counted.rows[:most]
    return ", ".join(map(str, rows)) + (", ..." if len(counted.rows) > most else "")
