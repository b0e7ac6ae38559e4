"""Draws curves by step, and paths in a plane, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lightning_gft.report.frame import STYLES, Frame, chart, numbers_table, plane
from lightning_gft.report.scales import can_draw, number
from lightning_gft.report.text import escape
from lightning_gft.report.thinning import MOST, Stretch, stretches, unbroken

_MOST_MARKS, _MOST_LARGE = 30, 10
"""Points of a curve that get a mark with its value on hover, and points up to which marks are large."""
LEAST_SPAN = 0.1
"""Least range of an accuracy's axis."""


@dataclass(frozen=True)
class Line:
    """A curve.

    Args:
        label: Name of the curve.
        style: Index of its colour and dash pattern.
        points: Values by step.
        margins: Half the width of the interval around each point, by step.
        faint: Whether the curve is drawn behind the others.
        level: Whether its only value holds for every step, for a run that was not trained.
    """

    label: str
    style: int
    points: Sequence[tuple[int, float]]
    margins: Mapping[int, float] = field(default_factory=dict)
    faint: bool = False
    level: bool = False


@dataclass(frozen=True)
class Track:
    """The path of a run in a plane: step, x and y of each point."""

    label: str
    style: int
    points: Sequence[tuple[float, float, float]]


def line_chart(
    title: str,
    lines: Sequence[Line],
    *,
    about: str = "",
    x: str = "step",
    log: bool = False,
    doubling: bool = False,
    span: float = 0.0,
    beside: Sequence[float] = (),
) -> str:
    """Return a chart of the lines that have points, or an empty text if none has.

    Args:
        title: Title of the chart.
        lines: Lines to draw.
        about: Short explanation of the figure.
        x: Name of the x axis.
        log: Whether the y axis is logarithmic.
        doubling: Whether the x axis is logarithmic, with a tick at each point.
        span: Least range of the y axis for shares, so that noise does not look large.
        beside: Values of neighbouring charts that the y axis must cover as well.
    """
    lines = [line for line in lines if any(can_draw(value, log) for _, value in line.points)]
    if not lines:
        return ""
    steps = sorted({step for line in lines for step, _ in line.points})
    ends = [value + sign * margin for line in lines for value, margin, sign in _ends(line, log)]
    ends += [value for value in beside if can_draw(value, log)]
    top = min(1.0, (min(ends) + max(ends) + span) / 2)
    ends = [min(max(end, 0.0), 1.0) for end in [*ends, top, top - span]] if span else ends
    begins = [0.0] if not doubling and 0 < 2 * steps[0] <= steps[-1] else []
    across, up = plane([*begins, *steps], ends, [line.label for line in lines], log_x=doubling, log_y=log)
    frame = Frame(across, up, x, "log scale" if log else "")
    width = (steps[-1] - steps[0]) / MOST if max(len(line.points) for line in lines) > MOST else 0
    drawn = "".join(_curve(line, frame, width, log) for line in lines)
    last = [(line.label, line.style, up(_drawable(line, log)[-1][1])) for line in lines]
    whole = {line.label: dict(line.points) for line in lines}
    rows = [[int(step), *(of.get(step) for of in whole.values())] for step in steps]
    return chart(
        title,
        frame.axes(steps if doubling else None) + drawn + frame.labels(last),
        about=about,
        description=" ".join(_described(line, x) for line in lines),
        numbers=numbers_table([x, *whole], rows),
    )


def track_chart(title: str, tracks: Sequence[Track], *, about: str, x: str, y: str) -> str:
    """Return a chart of paths, each from a hollow mark at its first step to a filled one at its last."""
    whole = [Track(t.label, t.style, [p for p in t.points if can_draw(p[1]) and can_draw(p[2])]) for t in tracks]
    tracks = [track for track in whole if track.points]
    if not tracks:
        return ""
    places = [point for track in tracks for point in track.points]
    across, up = plane([p[1] for p in places], [p[2] for p in places], [t.label for t in tracks], tight=False)
    frame = Frame(across, up, x, y)
    drawn = "".join(_path_of(track, frame) for track in tracks)
    ends = [(track.label, track.style, up(track.points[-1][2])) for track in tracks]
    rows = [[f"{track.label}, step {step:.0f}", *place] for track in tracks for step, *place in track.points]
    return chart(
        title,
        frame.axes() + drawn + frame.labels(ends),
        about=about,
        description=" ".join(_moved(track, x, y) for track in tracks),
        numbers=numbers_table(["", x, y], rows),
    )


def _drawable(line: Line, log: bool) -> list[tuple[int, float]]:
    return [point for point in line.points if can_draw(point[1], log)]


def _ends(line: Line, log: bool) -> list[tuple[float, float, int]]:
    return [(value, line.margins.get(step, 0.0), sign) for step, value in _drawable(line, log) for sign in (-1, 1)]


def _curve(line: Line, frame: Frame, width: float, log: bool) -> str:
    if line.level:
        height = frame.y(_drawable(line, log)[-1][1])
        line_across = f"M{frame.x.start:.1f} {height:.1f}H{frame.x.end:.1f}"
        [(_, low, high)] = _interval(line, _drawable(line, log)[-1:], frame)
        band = _box(frame.x.start, frame.x.end, frame.y(low), frame.y(high)) if line.margins else ""
        return f'<g class="s{line.style % STYLES} level"><path class="line" d="{line_across}"/>{band}</g>'
    pieces = [list(stretches(piece, width)) for piece in unbroken(line.points, log)]
    drawn = [f'<path class="line" d="{"".join(_path(piece, frame) for piece in pieces)}"/>']
    if width:
        drawn += [_area([(s.x, s.low, s.high) for s in piece], frame) for piece in pieces]
    if line.margins:
        drawn += [_area(_interval(line, piece, frame), frame) for piece in unbroken(line.points, log)]
    points = _drawable(line, log)
    for step, value in points if len(points) <= _MOST_MARKS else []:
        margin = f" ± {number(line.margins[step])}" if step in line.margins else ""
        about = escape(f"{line.label}, {frame.x_title} {number(step)}: {number(value)}{margin}")
        drawn.append(_mark(frame.x(step), frame.y(value), about, small=len(points) > _MOST_LARGE))
    return f'<g class="s{line.style % STYLES}{" faint" if line.faint else ""}">{"".join(drawn)}</g>'


def _path(piece: Sequence[Stretch], frame: Frame) -> str:
    if len(piece) == 1:
        return f"M{frame.x(piece[0].x):.1f} {frame.y(piece[0].mean):.1f}h.1"
    return "M" + "L".join(f"{frame.x(of.x):.1f} {frame.y(of.mean):.1f}" for of in piece)


def _interval(line: Line, piece: Sequence[tuple[int, float]], frame: Frame) -> list[tuple[float, float, float]]:
    """Return the intervals around points, clipped to the axis, which ends where a share does."""
    margins = [(x, y, line.margins.get(x, 0.0)) for x, y in piece]
    return [(x, max(y - margin, frame.y.low), min(y + margin, frame.y.high)) for x, y, margin in margins]


def _area(bounds: Sequence[tuple[float, float, float]], frame: Frame) -> str:
    """Return the area between a lower and an upper bound; a single point gets a bar."""
    if len(bounds) == 1:
        [(x, low, high)] = bounds
        return f'<path class="whisker" d="M{frame.x(x):.1f} {frame.y(low):.1f}V{frame.y(high):.1f}"/>'
    there = "L".join(f"{frame.x(x):.1f} {frame.y(high):.1f}" for x, _, high in bounds)
    back = "L".join(f"{frame.x(x):.1f} {frame.y(low):.1f}" for x, low, _ in reversed(bounds))
    return f'<path class="band" d="M{there}L{back}Z"/>'


def _box(left: float, right: float, low: float, high: float) -> str:
    return f'<path class="band" d="M{left:.1f} {low:.1f}H{right:.1f}V{high:.1f}H{left:.1f}Z"/>'


def _mark(x: float, y: float, about: str, kind: str = "mark", small: bool = False) -> str:
    radius = 1.6 if small else 3
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"><title>{about}</title></circle>'


def _path_of(track: Track, frame: Frame) -> str:
    line = "L".join(f"{frame.x(x):.1f} {frame.y(y):.1f}" for _, x, y in track.points)
    marks = [
        _mark(
            frame.x(x),
            frame.y(y),
            escape(f"{track.label}, step {step:.0f}: {frame.x_title} {number(x)}, {frame.y_title} {number(y)}"),
            "mark hollow" if place == 0 and len(track.points) > 1 else "mark",
        )
        for place, (step, x, y) in enumerate(track.points)
    ]
    return f'<g class="s{track.style % STYLES}"><path class="line" d="M{line}"/>{"".join(marks)}</g>'


def _described(line: Line, x: str) -> str:
    points = _drawable(line, log=False)
    (first, began), (last, ended) = points[0], points[-1]
    low, high = (pick(value for _, value in points) for pick in (min, max))
    gaps = len(line.points) - len(points)
    missing = f"; {gaps} values are not numbers" if gaps else ""
    return (
        f"{line.label}: {number(began)} at {x} {number(first)}, {number(ended)} at {x} {number(last)}, between "
        f"{number(low)} and {number(high)}{missing}."
    )


def _moved(track: Track, x: str, y: str) -> str:
    (_, x0, y0), (_, x1, y1) = track.points[0], track.points[-1]
    return f"{track.label}: {x} from {number(x0)} to {number(x1)}, {y} from {number(y0)} to {number(y1)}."
