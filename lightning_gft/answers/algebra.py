r"""Whether two formulas are equal by algebra, with math-verify. To be called where it may be killed."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from lightning_gft.answers.values import differ_at_a_point, needs_more_than_arithmetic
from lightning_gft.errors import GFTValueError

_DEEPEST = 15
_LARGE_EXPONENT = re.compile(r"\^ ?\{? ?-?[0-9]{6,}|[0-9]{6,} ?!|![ )}]*!")
_TOWER = re.compile(r"(?=\^ ?[{(]? ?-?(?P<base>[0-9]+) ?[)}]? ?\^ ?[{(]? ?-?(?P<power>[0-9]+))")
"""A power whose exponent is a power of numbers; a lookahead, because the next one may begin within it."""
_MOST_DIGITS = 5
_HIGHEST = 3
"""Exponents upon exponents: e to the e to the e to the e has more digits than fit into memory."""
_MOST_TERMS = 20_000
"""Terms of sums within sums; a single sum mostly has a closed form."""
_LARGE_BINOMIAL = re.compile(r"\\[dt]?binom ?\{[^{}]*(?:[0-9]{5,}|\^)")


class TooLargeError(GFTValueError):
    """A formula that nothing could work out in the time that an answer has."""


def check_size(formula: str) -> None:
    """Refuse a formula that is certainly too large to be worked out.

    Raises:
        TooLargeError: If it is too deep, or has a power, factorial or binomial of too many digits, or exponents upon
            exponents.

    Example:
        >>> check_size("9^{9^{9^9}}")
        Traceback (most recent call last):
        lightning_gft.answers.algebra.TooLargeError: expected a formula that can be worked out, got a power of ...
    """
    expected = "expected a formula that can be worked out, got"
    depth = deepest = 0
    for character in formula:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    if deepest > _DEEPEST:
        raise TooLargeError(f"{expected} brackets {deepest} deep")
    if (levels := _exponents(formula)) > _HIGHEST:
        raise TooLargeError(f"{expected} {levels} exponents upon each other")
    if match := _LARGE_EXPONENT.search(formula) or _LARGE_BINOMIAL.search(formula):
        raise TooLargeError(f"{expected} a power of many digits at {match[0]!r}")
    for tower in _TOWER.finditer(formula):
        if len(tower["base"]) * float(tower["power"][:9]) > _MOST_DIGITS and int(tower["base"][:9]) > 1:
            raise TooLargeError(f"{expected} a power of many digits at {formula[tower.start() : tower.end('power')]!r}")


def _exponents(formula: str) -> int:
    """Return how many exponents stand upon each other."""
    most = 0
    opened: list[bool] = []  # for each open bracket, whether it is one of an exponent
    raised = False
    for character in formula.replace(" ", ""):
        if character == "^":
            most = max(most, sum(opened) + 1)
        if character in "([{":
            opened.append(raised)
        elif character in ")]}" and opened:
            opened.pop()
        raised = character == "^"
    return most


def begin() -> None:
    """Import math-verify and let it build what it needs for its first formula."""
    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that others must limit its time: they do
    equal_by_algebra(r"\frac{x^2-1}{x-1}", "x+1")


@lru_cache(maxsize=2048)
def parse_formula(formula: str) -> tuple[Any, ...]:
    """Return what math-verify reads in a formula: sympy's objects, none where it reads nothing."""
    from latex2sympy2_extended import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse

    check_size(formula)
    config = LatexExtractionConfig(
        boxed_match_priority=-1,
        normalization_config=NormalizationConfig(
            basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none"
        ),
    )
    one_line = " ".join(formula.split())
    read = tuple(
        parse(f"${one_line}$", [config], fallback_mode="no_fallback", parsing_timeout=None, raise_on_error=True)
    )
    if (terms := max(map(_terms, read), default=1)) > _MOST_TERMS:
        raise TooLargeError(f"expected a formula that can be worked out, got sums within sums of {terms} terms")
    return read


def _terms(formula: Any, outer: int = 1, levels: int = 0) -> int:
    """Return how many terms sums and products within others have together."""
    from sympy import Basic, Product, Sum

    if not isinstance(formula, Basic):
        return 1
    if isinstance(formula, Sum | Product):
        lengths = [last - first + 1 for _, first, last in formula.limits]
        levels += len(lengths)
        outer *= math.prod(int(length) for length in lengths if length.is_Integer and length > 0)
    return max([outer if levels > 1 else 1, *(_terms(part, outer, levels) for part in formula.args)])


def equal_by_algebra(answer: str, expected: str, *, float_rounding: int = 6, numeric_precision: int = 15) -> bool:
    """Say whether an answer equals the expected formula by algebra.

    Example:
        >>> equal_by_algebra("(x+1)^2", "x^2+2x+1"), equal_by_algebra("(x+1)^2", "x^2+1")
        (True, False)
    """
    gold, target = parse_formula(expected), parse_formula(answer)
    if not gold or not target or differ_at_a_point(gold[0], target[0], 10.0**-float_rounding):
        return False
    settings = {"float_rounding": float_rounding, "numeric_precision": numeric_precision}
    return any(
        _verify([reading(one) for one in gold], [reading(one) for one in target], settings)
        for reading in _readings(*gold, *target)
    )


def _verify(gold: list[Any], target: list[Any], settings: dict[str, int]) -> bool:
    from math_verify import verify

    how: dict[str, Any] = {"allow_set_relation_comp": True, "timeout_seconds": None, "raise_on_error": True}
    return bool(verify(gold, target, **settings, **how))


def _readings(*formulas: Any) -> Iterator[Callable[[Any], Any]]:
    """Yield how variables may be understood: as math-verify does; i as the imaginary unit; those under roots positive.

    A variable under a root or logarithm cannot be negative, so that log(xy) is log(x) + log(y).
    """
    from sympy import I, Symbol

    symbols = {symbol for formula in formulas for symbol in getattr(formula, "free_symbols", ())}
    positive = {symbol for formula in formulas if hasattr(formula, "atoms") for symbol in _positive(formula)}
    yield lambda formula: formula
    if imaginary := {symbol: I for symbol in symbols if symbol.name == "i"}:
        yield lambda formula: formula.subs(imaginary)
    if positive:
        renamed = {symbol: Symbol(symbol.name, positive=True) for symbol in positive}
        yield lambda formula: formula.subs(renamed)


def _positive(formula: Any) -> set[Any]:
    from sympy import Mul, Pow, Rational, log

    roots = {power.base for power in formula.atoms(Pow) if power.exp == Rational(1, 2)}
    inside = roots | {logarithm.args[0] for logarithm in formula.atoms(log)}
    products = {factor for one in inside for factor in (one.args if isinstance(one, Mul) else (one,))}
    return {factor for factor in products if factor.is_Symbol}


def is_undefined(formula: Any) -> bool:
    r"""Say whether a formula has no value, as a division by zero has none.

    Example:
        >>> is_undefined(parse_formula(r"\frac{1}{0}")[0]), is_undefined(parse_formula(r"\infty")[0])
        (True, False)
    """
    from sympy import Expr, nan, zoo

    if not isinstance(formula, Expr) or needs_more_than_arithmetic(formula):
        return False
    return bool(formula.has(nan, zoo) or formula.doit().has(nan, zoo))
