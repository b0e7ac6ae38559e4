"""Tables in Markdown, and the places of a page that are filled with them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.study.plan import PlanError
from benchmarks.study.statistics import Difference, Estimate

NOTHING = "-"
"""A cell without a value."""


@dataclass(frozen=True)
class Table:
    """A table with the sentences that say how to read it.

    Args:
        caption: The sentences.
        columns: Names of the columns.
        rows: Cells; a column's name before the row's.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def text(self) -> str:
        """Return the table in Markdown, under its caption."""
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        return "\n".join([self.caption, "", *(f"| {' | '.join(line)} |" for line in lines)])


def interval(value: Estimate, digits: int = 3) -> str:
    """Return a mean with half of its interval, as ``0.812 ±0.014``."""
    if not value.count:
        return NOTHING
    return f"{value.mean:.{digits}f}" + (f" ±{value.half:.{digits}f}" if value.count > 1 else "")


def difference(value: Difference, digits: int = 3) -> str:
    """Return a difference with its interval and p; one whose interval contains zero is called none."""
    if value.count < 2:
        return NOTHING
    figures = f"{value.mean:+,.{digits}f} ±{value.half:,.{digits}f}"
    p = "p < 0.001" if value.p < 0.001 else f"p = {value.p:.3f}"
    return f"none ({figures}, {p})" if value.is_none else f"{figures}, {p}"


def rate(value: float) -> str:
    """Return a learning rate as ``3e-5``."""
    digits, power = f"{value:.3e}".split("e")
    return f"{float(digits):g}e{int(power)}"


def fill(page: str, plan: str, tables: Mapping[str, Table]) -> str:
    """Return a page whose marked places hold a plan's tables.

    A place begins with ``<!-- study: PLAN -->`` for all tables, or ``<!-- study: PLAN NAME ... -->`` for some, and ends
    with ``<!-- end -->``.

    Args:
        page: Text of the page.
        plan: Name of the plan; places of other plans stay as they are.
        tables: By name.

    Raises:
        PlanError: If the page has no place for the plan, a place has no end, or one asks for a table that is not there.
    """
    begin = re.compile(rf"^<!-- study: {re.escape(plan)}((?: [\w-]+)*) -->$", re.MULTILINE)
    places = [*begin.finditer(page)]
    if not places:
        raise PlanError(f"`docs`: expected a line `<!-- study: {plan} -->`, got none; add it, and `<!-- end -->` below")
    for place in reversed(places):  # from below, so that the places above stay where they are
        found = re.compile(r"^<!-- (end|study: .*) -->$", re.MULTILINE).search(page, place.end())
        if found is None or found[1] != "end":
            raise PlanError(f"`docs`: expected `<!-- end -->` after `{place[0]}`, got none; add it below")
        texts = [_named(tables, name).text() for name in place[1].split() or tables]
        page = page[: place.end()] + "\n" + "\n\n".join(texts) + "\n" + page[found.start() :]
    return page


def _named(tables: Mapping[str, Table], name: str) -> Table:
    if name not in tables:
        raise PlanError(f"`docs`: expected a table among {', '.join(tables)}, got {name}; change the marker")
    return tables[name]
