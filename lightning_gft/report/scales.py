"""Maps values to positions in a chart, chooses ticks and formats numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_STEPS = (1, 2, 2.5, 5, 10)
_SUFFIXES = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e4, "k"))
_MOST_DECADES = 6
_SMALL = 1e-4
_TICK = 0.01
"""Least ratio of a tick to the largest one for which all digits are shown."""
_LEAST = 5e-4
"""Least value that three decimals do not round to zero."""


@dataclass(frozen=True)
class Scale:
    """A linear or logarithmic map of values from ``low`` to ``high`` to pixels from ``start`` to ``end``.

    Example:
        >>> scale = Scale.around([0, 7], 0, 100)
        >>> scale(0), scale(8), scale.ticks()
        (0.0, 100.0, [0.0, 2.0, 4.0, 6.0, 8.0])
        >>> Scale.around([0.02, 300], 0, 100, log=True).ticks()
        [0.01, 0.1, 1.0, 10.0, 100.0, 1000.0]
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    @classmethod
    def around(
        cls,
        values: Iterable[float],
        start: float,
        end: float,
        *,
        log: bool = False,
        tight: bool = False,
        ticks: int = 5,
    ) -> Scale:
        """Return a scale that covers all values that can be drawn; it ends at ticks unless it is ``tight``."""
        drawn = [value for value in values if can_draw(value, log)]
        low, high = (min(drawn), max(drawn)) if drawn else (1.0, 10.0) if log else (0.0, 1.0)
        if log and tight:
            return cls(low, high if high > low else low * 10, start, end, log)
        if log:
            low, high = 10.0 ** math.floor(_log10(low)), 10.0 ** math.ceil(_log10(high))
            return cls(low, high if high > low else low * 10, start, end, log)
        if high == low:
            low, high = (low, low + 1) if tight or not low else (min(low, 0.0), max(high, 0.0))
        if not tight:
            step = nice_step((high - low) / ticks)
            low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
        return cls(low, high, start, end)

    def __call__(self, value: float) -> float:
        """Return the pixel of a value; a logarithmic scale maps values of 0 and less to its lower end."""
        if self.log:
            share = (_log10(max(value, self.low)) - _log10(self.low)) / (_log10(self.high) - _log10(self.low))
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, most: int = 5) -> list[float]:
        """Return the values to mark, about ``most`` of them."""
        if self.log:
            first, last = math.ceil(_log10(self.low) - 1e-9), math.floor(_log10(self.high) + 1e-9)
            every = max(1, -(-(last - first) // _MOST_DECADES))
            return [10.0**power for power in range(first, last + 1, every)]
        step = nice_step((self.high - self.low) / most)
        first = math.ceil(self.low / step - 1e-9)
        return [round(number * step, 12) for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


def can_draw(value: float, log: bool = False) -> bool:
    """Return whether a value has a position on a scale.

    Example:
        >>> can_draw(0.0), can_draw(0.0, log=True), can_draw(float("nan"))
        (True, False, False)
    """
    return math.isfinite(value) and (value > 0 or not log)


def nice_step(least: float) -> float:
    """Return the smallest round step of at least ``least``.

    Example:
        >>> nice_step(0.13), nice_step(3), nice_step(2000)
        (0.2, 5.0, 2000.0)
    """
    power = 10.0 ** math.floor(_log10(least))
    step = next(step for step in _STEPS if step * power >= least * (1 - 1e-9))
    return float(f"{step * power:.6g}")


def number(value: float) -> str:
    """Return a number with about three digits.

    Example:
        >>> [number(value) for value in (0, 0.12345, 7.0, 1234, 51200, 3e-5, float("nan"), -0.5)]
        ['0', '0.123', '7', '1,234', '51.2k', '3e-5', '-', '-0.5']
    """
    if math.isnan(value):
        return "-"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    size = abs(value)
    for unit, suffix in _SUFFIXES:
        if size >= unit:
            return f"{value / (unit if suffix != 'k' else 1000):.3g}{suffix}"
    if size >= 1000:
        return f"{value:,.0f}"
    if 0 < size < _SMALL:
        return f"{value:.2g}".replace("e-0", "e-")
    return f"{value:.3g}"


def tick_labels(ticks: Sequence[float], log: bool = False) -> list[str]:
    """Return the labels of evenly spaced ticks, all with the same number of decimals.

    Example:
        >>> tick_labels([0.13, 0.1325, 0.135]), tick_labels([0.0, 500.0, 1000.0]), tick_labels([0.001, 1.0], log=True)
        (['0.1300', '0.1325', '0.1350'], ['0', '500', '1,000'], ['0.001', '1'])
    """
    largest = max(map(abs, ticks), default=0.0)
    if log or not _TICK <= largest < 1000:
        return [number(tick) for tick in ticks]
    digits = next(
        digits for digits in range(13) if all(math.isclose(tick, round(tick, digits), abs_tol=1e-12) for tick in ticks)
    )
    return [f"{tick:.{digits}f}" for tick in ticks]


def figure(value: float) -> str:
    """Return a figure of an evaluation with three decimals, so that the values of a column line up.

    Example:
        >>> figure(0.5), figure(21.74), figure(1234.0), figure(1e-5)
        ('0.500', '21.7', '1,234', '1e-5')
    """
    return f"{value:.3f}" if value == 0 or _LEAST <= abs(value) < 10 else number(value)


def share(value: float, digits: int = 0) -> str:
    """Return a share in percent; it reads 0% or 100% only if the share is exactly 0 or 1.

    Example:
        >>> share(0.5), share(0.977, digits=1), share(0.9999), share(1.0), share(0.004)
        ('50%', '97.7%', 'over 99%', '100%', 'under 1%')
    """
    if not math.isfinite(value):
        return number(value)
    least = 10.0**-digits
    if 0 < value < 1 and not least / 2 <= 100 * value < 100 - least / 2:
        return f"under {least:g}%" if value < 0.5 else f"over {100 - least:g}%"
    return f"{value:.{digits}%}" if value not in (0, 1) else f"{value:.0%}"


def _log10(value: float) -> float:
    return math.log10(value)
