r"""Parses numbers exactly, and only from texts that are a number as a whole."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from lightning_gft.answers.expressions import Expression, find_expressions
from lightning_gft.answers.typography import boxed, plain
from lightning_gft.answers.words import SCALES

_NUMBER = re.compile(
    r"""
    (?P<sign>[-+])?
    (?: (?P<mixed>n)?(?P<fraction>f|n/n)
      | (?:n\*)?(?P<power>n\^[-+]?n)
      | (?P<plain>n) )
    (?P<scales>s*) (?P<sign_after>p?) (?P<units>u*)
    """,
    re.VERBOSE,
)
_DIGITS = re.compile(
    r"""
    (?P<whole> [1-9][0-9]{0,2} (?: (?:,[0-9]{3})+ | (?:\ [0-9]{3})+ | (?:'[0-9]{3})+ )
             | [1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3}  # as in 12,34,567
             | [0-9]* )
    (?P<decimals> (?:\.[0-9]+)? )
    (?: [eE](?P<exponent>[-+]?[0-9]+) )?
    """,
    re.VERBOSE,
)
_INSIDE = re.compile(r"-?\ *[0-9][0-9.,']*")
# Longer than any answer, yet short enough for cheap exact arithmetic on a response that repeats a digit forever.
_MAX_CHARACTERS = 1000
_MAX_EXPONENT_CHARACTERS = 4
_MOST_BITS = 2000
_OTHER_WORDS = "if else less more than above below not but at least most of out"
_NO_UNITS = frozenset(_OTHER_WORDS.split())
"""Words after a number that begin another statement and so are no unit."""
_MAY_SURROUND = frozenset('.;`"')
_DANGLING = "-+*/^,:o("


@dataclass(frozen=True)
class Quantity:
    """A number with its notation.

    Args:
        value: The exact value; that of a percentage is the number before its sign.
        percent: Whether it is a percentage.
    """

    value: Fraction
    percent: bool = False
    unit: str = ""
    """The words after the number, such as "km/h" or "red apples"."""
    rounded: bool = False
    """Whether it is written with decimals, so that it may be rounded."""


def read_quantity(text: str) -> Quantity | None:
    r"""Return the number that makes up a text, with its unit, or ``None`` if the text holds anything else.

    Example:
        >>> read_quantity(r"2.5 \text{ km/h}")
        Quantity(value=Fraction(5, 2), percent=False, unit='km/h', rounded=True)
    """
    inside = boxed(text, first=False)
    found, others = find_expressions(plain(text if inside is None else inside))
    if len(found) != 1 or not _MAY_SURROUND.issuperset(others):
        return None
    if _NO_UNITS.intersection(found[0].texts):
        return None
    return _quantity(found[0], trim=False)


def read_number(text: str) -> Fraction | None:
    r"""Return the number that makes up a text, or ``None`` if the text holds anything else.

    Example:
        >>> read_number(r"$-3\frac{1}{2}$ cm"), read_number(r"2\sqrt{7}"), read_number("7 or 14")
        (Fraction(-7, 2), None, None)
    """
    quantity = read_quantity(text)
    return None if quantity is None else quantity.value


def write_number(number: Fraction) -> str:
    """Return the text of a number, as a fraction; in hexadecimal from about 600 digits, where Python limits decimals.

    Example:
        >>> write_number(Fraction("0.50"))
        '1/2'
    """
    if max(number.numerator.bit_length(), number.denominator.bit_length()) > _MOST_BITS:
        return f"{number.numerator:#x}/{number.denominator:#x}"
    return str(number)


def find_number(text: str, first: bool) -> Fraction | None:
    r"""Return a text's final number, or ``None`` if it has no expression or the last one is no number.

    Example:
        >>> find_number("3 - 15 = -12. So the answer is $-12$.", first=False)
        Fraction(-12, 1)
        >>> find_number(r"It is 2\sqrt{7}.", first=False) is None
        True
    """
    inside = boxed(text, first)
    chosen = (_first if first else _last)(plain(text if inside is None else inside))
    quantity = None if chosen is None else _quantity(chosen, trim=True)
    return None if quantity is None else quantity.value


def _first(text: str) -> Expression | None:
    found, _ = find_expressions(text)
    return first_of(found)


def first_of(found: list[Expression]) -> Expression | None:
    """Return the first expression, or the last one of the equals signs that follow it."""
    chosen = 0
    while chosen + 1 < len(found) and found[chosen + 1].continues:
        chosen += 1
    return found[chosen] if found else None


def _last(text: str) -> Expression | None:
    """Return the last expression. Lines are read from the last backwards, as no expression spans two of them."""
    stop = len(text)
    while stop > 0:
        start = max(text.rfind("\n", 0, stop), 0)
        found, _ = find_expressions(text[start:stop])
        if found:
            return found[-1]
        stop = start
    return None


def _quantity(expression: Expression, trim: bool) -> Quantity | None:
    if trim:
        expression = trimmed(expression)
    kinds, texts = expression.kinds, expression.texts
    while kinds.startswith("(") and _closing(kinds) == len(kinds) - 1:
        kinds, texts = kinds[1:-1], texts[1:-1]
    match = _NUMBER.fullmatch(kinds)
    if match is None:
        return None
    value = _magnitude(match, texts)
    if value is None:
        return None
    for scale in texts[slice(*match.span("scales"))]:
        value *= SCALES[scale]
    unit = " ".join(texts[slice(*match.span("units"))])
    percent = "%" in texts[slice(*match.span("sign_after"))] or unit == "percent"
    rounded = any("." in text for text in texts[: match.start("units")])
    return Quantity(-value if match["sign"] == "-" else value, percent, "" if percent else unit, rounded)


def trimmed(expression: Expression) -> Expression:
    """Return an expression without a sentence's punctuation: operators at its end, brackets that are never closed."""
    kinds = expression.kinds.rstrip(_DANGLING)
    texts = expression.texts[: len(kinds)]
    while kinds.startswith("(") and _closing(kinds) is None:
        kinds, texts = kinds[1:], texts[1:]
    return Expression(kinds, texts, expression.continues)


def _closing(kinds: str) -> int | None:
    """Return the index of the bracket that closes the first one of ``kinds``, or ``None`` without one."""
    depth = 0
    for index, kind in enumerate(kinds):
        depth += (kind == "(") - (kind == ")")
        if depth == 0:
            return index
    return None


def _magnitude(match: re.Match[str], texts: list[str]) -> Fraction | None:
    """Return the value without its sign and scale, or ``None`` if it is no exact number."""
    if match["plain"]:
        return _exact(texts[match.start("plain")])
    if match["power"]:
        return _scientific(match, texts)
    start, stop = match.span("fraction")
    top, bottom = _INSIDE.findall(_spread(texts[start])) if stop - start == 1 else (texts[start], texts[start + 2])
    top, bottom = top.strip(), bottom.strip()
    numerator, denominator = _signed(top), _signed(bottom)
    if numerator is None or not denominator:
        return None
    if not match["mixed"]:
        return numerator / denominator
    whole = _exact(texts[match.start("mixed")])
    is_mixed = top.isdigit() and bottom.isdigit() and numerator < denominator
    return whole + numerator / denominator if is_mixed and whole is not None and whole.denominator == 1 else None


def _spread(fraction: str) -> str:
    r"""Separate the digits of ``\frac34`` by spaces."""
    return fraction if "{" in fraction else " ".join(fraction.removeprefix("\\frac"))


def _scientific(match: re.Match[str], texts: list[str]) -> Fraction | None:
    start, stop = match.span("power")
    exponent = "".join(texts[start + 2 : stop])
    mantissa = _exact(texts[start - 2]) if match.string[start - 1 : start] == "*" else Fraction(1)
    if texts[start] != "10" or mantissa is None or len(exponent) > _MAX_EXPONENT_CHARACTERS or "." in exponent:
        return None
    return mantissa * Fraction(10) ** int(exponent) if exponent.lstrip("+-").isdigit() else None


def _signed(digits: str) -> Fraction | None:
    value = _exact(digits.lstrip("- "))
    return -value if value is not None and digits.startswith("-") else value


def _exact(digits: str) -> Fraction | None:
    if len(digits) > _MAX_CHARACTERS:
        return None
    match = _DIGITS.fullmatch(digits)
    if match is None or len(match["exponent"] or "") > _MAX_EXPONENT_CHARACTERS:
        return None
    return Fraction(re.sub("[, ']", "", digits))
