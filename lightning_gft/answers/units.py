"""Units of measurement: their kinds, and their sizes relative to others of the same kind."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction

_TABLE = """
length    m meter meters metre metres: 1; cm centimeter centimeters centimetre centimetres: 1/100
length    mm millimeter millimeters millimetre millimetres: 1/1000; km kilometer kilometers kilometre kilometres: 1000
length    in inch inches: 127/5000; ft foot feet: 381/1250; yd yard yards: 1143/1250; mi mile miles: 201168/125
mass      g gram grams: 1; kg kilogram kilograms: 1000; mg milligram milligrams: 1/1000
mass      lb lbs pound pounds: 45359237/100000; oz ounce ounces: 45359237/1600000; ton tons tonne tonnes: 1000000
time      s sec second seconds: 1; min mins minute minutes: 60; h hr hrs hour hours: 3600; day days: 86400
time      week weeks: 604800; month months: 2629746; year years yr yrs: 31556952
volume    L l liter liters litre litres: 1; ml mL milliliter milliliters millilitre millilitres: 1/1000
volume    gal gallon gallons: 473176473/125000000; quart quarts: 473176473/500000000
money     dollar dollars USD: 1; cent cents ct cts: 1/100
angle     degree degrees deg: 1
"""
_UNITS = {
    name: (kind, Fraction(size))
    for line in _TABLE.strip().splitlines()
    for kind, _, entries in [line.partition(" ")]
    for entry in entries.split(";")
    for names, _, size in [entry.partition(":")]
    for name in names.split()
}
_POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
_WORD = re.compile(r"([A-Za-z]+)\^?([0-9]?)")


@dataclass(frozen=True)
class Unit:
    """A product of units with powers, such as km/h.

    Args:
        kinds: The kinds, such as ``"length"``, with their powers.
    """

    kinds: frozenset[tuple[str, int]]
    size: Fraction
    """The size as a multiple of the first unit of its kind."""


def read_unit(text: str) -> Unit | None:
    """Return the unit that a text names, or ``None`` if it holds an unknown word.

    Example:
        >>> read_unit("cm^2") == read_unit("square centimeters"), read_unit("red apples")
        (True, None)
    """
    size, kinds, power, sign = Fraction(1), Counter[str](), 0, 1
    for word in text.replace("/", " per ").split():
        if word == "per":
            sign = -1
        elif word in _POWERS:
            power = _POWERS[word]
        else:
            match = _WORD.fullmatch(word)
            known = match and (_UNITS.get(match[1]) or _UNITS.get(match[1].lower()))
            if not match or not known:
                return None
            exponent = sign * (power or int(match[2] or 1))
            kinds[known[0]] += exponent
            size, power = size * known[1] ** exponent, 0
    return Unit(frozenset(kinds.items()), size) if kinds else None
