r"""Reading numbers: exactly where the text is one, and not at all where it is more or less than that."""

from __future__ import annotations

import re
from fractions import Fraction

from lightning_gft.rewards.expressions import Expression, find_expressions
from lightning_gft.rewards.typography import boxed, plain
from lightning_gft.rewards.words import SCALES

_NUMBER = re.compile(
    r"""
    (?P<sign>[-+])?
    (?: (?P<mixed>n)?(?P<fraction>f|n/n)
      | (?:n\*)?(?P<power>n\^[-+]?n)
      | (?P<plain>n) )
    (?P<scales>s*) p? (?P<units>u*)
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
# Longer than any answer, and so short that exact arithmetic costs nothing on a response that repeats a digit forever.
_MAX_CHARACTERS = 1000
_MAX_EXPONENT_CHARACTERS = 4
_OTHER_WORDS = "if else less more than above below not but at least most of out"
_NO_UNITS = frozenset(_OTHER_WORDS.split())
"""Words after a number that begin another statement and are no unit."""
_MAY_SURROUND = frozenset('.;`"')
_DANGLING = "-+*/^,:o("


def read_number(text: str) -> Fraction | None:
    r"""Return the number that a text is, ``None`` if it is anything else or holds anything else.

    Example:
        >>> read_number(r"$-3\frac{1}{2}$ cm"), read_number(r"2\sqrt{7}"), read_number("7 or 14")
        (Fraction(-7, 2), None, None)
    """
    inside = boxed(text, first=False)
    found, others = find_expressions(plain(text if inside is None else inside))
    if len(found) != 1 or not _MAY_SURROUND.issuperset(others):
        return None
    if _NO_UNITS.intersection(found[0].texts):
        return None
    return _value(found[0], trim=False)


def find_number(text: str, first: bool) -> Fraction | None:
    r"""Return the number at which a text arrives, ``None`` where its last expression is not a number or there is none.

    Example:
        >>> find_number("3 - 15 = -12. So the answer is $-12$.", first=False)
        Fraction(-12, 1)
        >>> find_number(r"It is 2\sqrt{7}.", first=False) is None
        True
    """
    inside = boxed(text, first)
    chosen = (_first if first else _last)(plain(text if inside is None else inside))
    return None if chosen is None else _value(chosen, trim=True)


def _first(text: str) -> Expression | None:
    found, _ = find_expressions(text)
    chosen = 0
    while chosen + 1 < len(found) and found[chosen + 1].continues:
        chosen += 1
    return found[chosen] if found else None


def _last(text: str) -> Expression | None:
    """Return the last expression, reading from the last line on: no expression goes over the end of a line."""
    stop = len(text)
    while stop > 0:
        start = max(text.rfind("\n", 0, stop), 0)
        found, _ = find_expressions(text[start:stop])
        if found:
            return found[-1]
        stop = start
    return None


def _value(expression: Expression, trim: bool) -> Fraction | None:
    kinds, texts = expression.kinds, expression.texts
    if trim:  # punctuation of the sentence around it
        kinds = kinds.rstrip(_DANGLING)
        kinds, texts = _without_open_brackets(kinds, texts[: len(kinds)])
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
    return -value if match["sign"] == "-" else value


def _without_open_brackets(kinds: str, texts: list[str]) -> tuple[str, list[str]]:
    """Drop brackets at the beginning that are not closed, as of a remark that continues after the number."""
    while kinds.startswith("(") and _closing(kinds) is None:
        kinds, texts = kinds[1:], texts[1:]
    return kinds, texts


def _closing(kinds: str) -> int | None:
    """Return where the bracket closes that ``kinds`` begins with."""
    depth = 0
    for index, kind in enumerate(kinds):
        depth += (kind == "(") - (kind == ")")
        if depth == 0:
            return index
    return None


def _magnitude(match: re.Match[str], texts: list[str]) -> Fraction | None:
    """Return the value without sign and scale."""
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
    r"""Part the digits of ``\frac34``."""
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
