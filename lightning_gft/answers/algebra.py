r"""Compares two formulas by algebra, with math-verify. Call it only where the process may be killed."""

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
"""A power whose exponent is a power of numbers. A lookahead, because the next tower may begin within this one."""
_MOST_DIGITS = 5
_HIGHEST = 3
"""Levels of exponents: e to the e to the e to the e has more digits than fit into memory."""
_MOST_TERMS = 20_000
"""Terms of nested sums. A single sum mostly has a closed form, so it is not limited."""
_LARGE_BINOMIAL = re.compile(r"\\[dt]?binom ?\{[^{}]*(?:[0-9]{5,}|\^)")


class TooLargeError(GFTValueError):
    """A formula that cannot be evaluated within the time limit of an answer."""


def check_size(formula: str) -> None:
    """Raise an error if a formula is certainly too large to be evaluated.

    Raises:
        TooLargeError: If its brackets are nested too deeply, if it holds a power, factorial or binomial of too many
            digits, or if it has too many levels of exponents.

    Example:
        >>> check_size("9^{9^{9^9}}")
        Traceback (most recent call last):
        lightning_gft.answers.algebra.TooLargeError: expected a formula that can be evaluated, got a power of ...
    """
    expected = "expected a formula that can be evaluated, got"
    depth = deepest = 0
    for character in formula:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    if deepest > _DEEPEST:
        raise TooLargeError(f"{expected} {deepest} nested levels of brackets")
    if (levels := _exponents(formula)) > _HIGHEST:
        raise TooLargeError(f"{expected} {levels} nested levels of exponents")
    if match := _LARGE_EXPONENT.search(formula) or _LARGE_BINOMIAL.search(formula):
        raise TooLargeError(f"{expected} a power of many digits at {match[0]!r}")
    for tower in _TOWER.finditer(formula):
        if len(tower["base"]) * float(tower["power"][:9]) > _MOST_DIGITS and int(tower["base"][:9]) > 1:
            raise TooLargeError(f"{expected} a power of many digits at {formula[tower.start() : tower.end('power')]!r}")


def _exponents(formula: str) -> int:
    """Return the number of nested levels of exponents."""
    most = 0
    opened: list[bool] = []  # for each open bracket: whether it encloses an exponent
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
    """Import math-verify and let it build its parsers, which it does on its first formula."""
    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that it has no timeout; the caller has one
    equal_by_algebra(r"\frac{x^2-1}{x-1}", "x+1")


@lru_cache(maxsize=2048)
def parse_formula(formula: str) -> tuple[Any, ...]:
    """Return the sympy objects that math-verify parses from a formula, or an empty tuple if it parses none."""
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
        raise TooLargeError(f"expected a formula that can be evaluated, got nested sums of {terms} terms")
    return read


def _terms(formula: Any, outer: int = 1, levels: int = 0) -> int:
    """Return the number of terms of nested sums and products, multiplied over their levels."""
    from sympy import Basic, Product, Sum

    if not isinstance(formula, Basic):
        return 1
    if isinstance(formula, Sum | Product):
        lengths = [last - first + 1 for _, first, last in formula.limits]
        levels += len(lengths)
        outer *= math.prod(int(length) for length in lengths if length.is_Integer and length > 0)
    return max([outer if levels > 1 else 1, *(_terms(part, outer, levels) for part in formula.args)])


def equal_by_algebra(answer: str, expected: str, *, float_rounding: int = 6, numeric_precision: int = 15) -> bool:
    """Return whether algebra shows an answer to equal the expected formula.

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
    """Yield the interpretations of the variables to try.

    The first leaves the formulas as math-verify parses them. The second reads ``i`` as the imaginary unit. The third
    takes variables under a root or logarithm as positive, so that log(xy) is log(x) + log(y).
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
    r"""Return whether a formula has no value, such as a division by zero.

    Example:
        >>> is_undefined(parse_formula(r"\frac{1}{0}")[0]), is_undefined(parse_formula(r"\infty")[0])
        (True, False)
    """
    from sympy import Expr, nan, zoo

    if not isinstance(formula, Expr) or needs_more_than_arithmetic(formula):
        return False
    return bool(formula.has(nan, zoo) or formula.doit().has(nan, zoo))
