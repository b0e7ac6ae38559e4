"""HTML elements that several sections share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest

from lightning_gft.report.runs import Run
from lightning_gft.report.text import isolated


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    caption: str = "",
    kind: str = "",
    whose: Sequence[str] = (),
) -> str:
    """Return a table with its own scroll bar; the first cell of each row is the row's heading.

    Args:
        head: HTML of the cells in the head.
        rows: HTML of all other cells, row by row.
        caption: HTML of the caption.
        kind: CSS class of the table.
        whose: HTML of each column's name, for narrow screens that stack the cells.
    """
    names = [f'<span class="whose">{name}</span>' for name in whose]
    above = "".join(f'<th scope="col">{cell}</th>' if cell else "<td></td>" for cell in head)
    body = "".join(f'<tr><th scope="row">{title}</th>{"".join(_cells(cells, names))}</tr>' for title, *cells in rows)
    named = f'<table class="{kind}">' if kind else "<table>"
    told = f"<caption>{caption}</caption>" if caption else ""
    return f'<div class="scroll">{named}{told}<thead><tr>{above}</tr></thead><tbody>{body}</tbody></table></div>'


def _cells(cells: Sequence[str], names: Sequence[str]) -> Iterable[str]:
    return (f"<td>{name}{cell}</td>" for name, cell in zip_longest(names[: len(cells)], cells, fillvalue=""))


def charts(*made: str) -> str:
    """Return charts side by side, or an empty text without any."""
    inside = "".join(made)
    return inside and f'<div class="charts">\n{inside}</div>\n'


def run_heads(runs: Sequence[Run]) -> list[str]:
    """Return the names of runs in their colours, as the cells of a table's head."""
    return [f'<span class="name s{place}">{isolated(run.name)}</span>' for place, run in enumerate(runs)]
