"""The common parts of all charts: a frame with axes, a title, a description and a table of the numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_gft.report.markup import table
from lightning_gft.report.scales import Scale, number, tick_labels
from lightning_gft.report.text import escape

WIDTH, HEIGHT = 400, 240
STYLES = 8
"""Number of colours and dash patterns; ``s<n>`` in the style sheets."""
_TOP, _BOTTOM, _LEFT = 20, 36, 50
_LABEL = 7.2
"""Width of a label's character, in pixels."""
_LONGEST = 15
_LINE = 14
"""Distance of neighbouring labels, in pixels."""
_MOST_ROWS = 12


@dataclass(frozen=True)
class Frame:
    """The plane of a chart, and the texts at its edges."""

    x: Scale
    y: Scale
    x_title: str
    y_title: str = ""

    def axes(self, x_ticks: Sequence[float] | None = None) -> str:
        """Return the grid, the ticks and the titles of the axes."""
        left, right, bottom = self.x.start, self.x.end, self.y.start
        heights = self.y.ticks()
        rows = "".join(
            f'<path class="grid" d="M{left:.0f} {self.y(tick):.1f}H{right:.0f}"/>'
            f'<text x="{left - 6:.0f}" y="{self.y(tick) + 4:.1f}" class="tick end">{text}</text>'
            for tick, text in zip(heights, tick_labels(heights, self.y.log), strict=True)
        )
        columns = "".join(
            f'<path class="notch" d="M{self.x(tick):.1f} {bottom:.0f}v4"/>'
            f'<text x="{self.x(tick):.1f}" y="{bottom + 17:.0f}" class="tick mid">{number(tick)}</text>'
            for tick in (self.x.ticks() if x_ticks is None else x_ticks)
        )
        titles = f'<text x="{right:.0f}" y="{bottom + 32:.0f}" class="tick end">{escape(self.x_title)}</text>'
        if self.y_title:
            titles += f'<text x="{left:.0f}" y="9" class="tick">{escape(self.y_title)}</text>'
        return f'{rows}<path class="axis" d="M{left:.0f} {bottom:.0f}H{right:.0f}"/>{columns}{titles}'

    def labels(self, ends: Iterable[tuple[str, int, float]], kinds: Sequence[str] = ()) -> str:
        """Return names at the right edge, in their styles, each as close to its height as the other names allow.

        If ``kinds`` are given, these classes replace the styles.
        """
        ordered = sorted(ends, key=lambda end: end[2])
        places = spread_out([place for _, _, place in ordered], _LINE, _TOP - 4, self.y.start)
        kinds = kinds or [f"s{number}" for number in range(STYLES)]
        return "".join(
            f'<text x="{self.x.end + 8:.0f}" y="{place + 4:.1f}" class="label {kinds[style % len(kinds)]}">'
            f"{escape(_cut(name))}</text>"
            for (name, style, _), place in zip(ordered, places, strict=True)
        )


def plane(
    xs: Iterable[float],
    ys: Iterable[float],
    names: Iterable[str] = (),
    *,
    log_x: bool = False,
    log_y: bool = False,
    tight: bool = True,
) -> tuple[Scale, Scale]:
    """Return scales for a chart with ``names`` at its right edge; ``tight`` ends the x axis at the last value."""
    room = max((len(_cut(name)) * _LABEL + 8 for name in names), default=0)
    x = Scale.around(xs, _LEFT, WIDTH - 10 - room, log=log_x, tight=tight)
    return x, Scale.around(ys, HEIGHT - _BOTTOM, _TOP, log=log_y, ticks=4)


def chart(title: str, inside: str, *, about: str, description: str, numbers: str, height: int = HEIGHT) -> str:
    """Return a figure: ``inside`` as SVG, with a description and a table of the numbers for screen readers."""
    note = f' <span class="about">{escape(about)}</span>' if about else ""
    return (
        f'<figure class="chart"><figcaption><b>{escape(title)}</b>{note}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img"><title>{escape(title)}</title>'
        f"<desc>{escape(description)}</desc>{inside}</svg>{numbers}</figure>\n"
    )


def numbers_table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a collapsible table; of many rows it shows some, evenly spread, including the first and the last."""
    shown = evenly(rows, _MOST_ROWS)
    some = f"{len(shown)} of {len(rows):,} rows" if len(shown) < len(rows) else ""
    cells = [[_cell(value) for value in row] for row in shown]
    inside = table([escape(name) for name in head], cells, caption=some)
    return f'<details class="numbers"><summary>Numbers</summary>{inside}</details>'


def evenly(items: Sequence[Any], most: int) -> Sequence[Any]:
    """Return ``most`` of the items, evenly spread, including the first and the last.

    Example:
        >>> evenly(range(100), 3)
        [0, 49, 99]
    """
    if len(items) <= most or most < 2:
        return items[:most]
    return [items[place * (len(items) - 1) // (most - 1)] for place in range(most)]


def spread_out(places: Sequence[float], least: float, low: float, high: float) -> list[float]:
    """Move ascending positions apart to a distance of ``least``, within ``low`` and ``high`` if there is room.

    Example:
        >>> spread_out([10, 12, 99], 10, 0, 100)
        [10, 20, 99]
        >>> spread_out([95, 99], 10, 0, 100)
        [90, 100]
    """
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + least) if moved else max(place, low))
    bound = high
    for index in reversed(range(len(moved))):
        moved[index] = min(moved[index], bound)
        bound = moved[index] - least
    return moved


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return escape(f"{value:,}" if isinstance(value, int) else number(value) if isinstance(value, float) else value)


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
