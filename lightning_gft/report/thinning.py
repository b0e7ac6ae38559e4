"""Thins out curves with more steps than a chart has pixels, without hiding any spike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lightning_gft.report.scales import can_draw

MOST = 180
"""Points of a curve that are drawn one by one; longer curves are drawn as stretches of steps."""


@dataclass(frozen=True)
class Stretch:
    """Neighbouring points of a curve: their mean, and the range of their values."""

    x: float
    mean: float
    low: float
    high: float


def unbroken(points: Sequence[tuple[int, float]], log: bool = False) -> list[list[tuple[int, float]]]:
    """Split a curve at values that cannot be drawn, such as NaN.

    Example:
        >>> unbroken([(0, 1.0), (1, float("nan")), (2, 3.0), (3, 4.0)])
        [[(0, 1.0)], [(2, 3.0), (3, 4.0)]]
    """
    pieces: list[list[tuple[int, float]]] = [[]]
    for point in points:
        if can_draw(point[1], log):
            pieces[-1].append(point)
        elif pieces[-1]:
            pieces.append([])
    return [piece for piece in pieces if piece]


def stretches(points: Sequence[tuple[int, float]], width: float) -> Iterator[Stretch]:
    """Yield the stretches of an unbroken curve, one for every ``width`` of the x axis; width 0 yields each point.

    Example:
        >>> list(stretches([(0, 1.0), (1, 5.0), (2, 3.0)], 2))
        [Stretch(x=0.5, mean=3.0, low=1.0, high=5.0), Stretch(x=2.0, mean=3.0, low=3.0, high=3.0)]
    """
    group: list[tuple[int, float]] = []
    for point in points:
        if group and (not width or point[0] // width != group[0][0] // width):
            yield _stretch(group)
            group = []
        group.append(point)
    if group:
        yield _stretch(group)


def _stretch(group: Sequence[tuple[int, float]]) -> Stretch:
    ys = [y for _, y in group]
    return Stretch(sum(x for x, _ in group) / len(group), sum(ys) / len(ys), min(ys), max(ys))
