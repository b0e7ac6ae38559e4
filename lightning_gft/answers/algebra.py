r"""Whether two formulas are equal by algebra, with math-verify. To be called where it may be killed."""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from typing import Any

from lightning_gft.errors import GFTValueError

_DEEPEST = 30
_LARGE_EXPONENT = re.compile(r"\^ ?\{? ?-?[0-9]{5,}|\^ ?\{[^{}]*[\^!]|[0-9]{6,} ?!|![ )}]*!")
_LARGE_BINOMIAL = re.compile(r"\\[dt]?binom ?\{[^{}]*(?:[0-9]{5,}|\^)")


class TooLargeError(GFTValueError):
    """A formula that nothing could work out in the time that an answer has."""


def check_size(formula: str) -> None:
    """Refuse a formula that is certainly too large to be worked out.

    Raises:
        TooLargeError: If it is too deep, or has a power, factorial or binomial of too many digits.

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
    if match := _LARGE_EXPONENT.search(formula) or _LARGE_BINOMIAL.search(formula):
        raise TooLargeError(f"{expected} a power of many digits at {match[0]!r}")


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
    return tuple(
        parse(f"${one_line}$", [config], fallback_mode="no_fallback", parsing_timeout=None, raise_on_error=True)
    )


def equal_by_algebra(answer: str, expected: str, *, float_rounding: int = 6, numeric_precision: int = 15) -> bool:
    """Say whether an answer equals the expected formula by algebra.

    Example:
        >>> equal_by_algebra("(x+1)^2", "x^2+2x+1"), equal_by_algebra("(x+1)^2", "x^2+1")
        (True, False)
    """
    gold, target = parse_formula(expected), parse_formula(answer)
    if not gold or not target:
        return False
    settings = {"float_rounding": float_rounding, "numeric_precision": numeric_precision}
    return _verify(gold, target, settings) or (
        any(map(_has_i, (*gold, *target)))
        and _verify(tuple(map(_complex, gold)), tuple(map(_complex, target)), settings)
    )


def _verify(gold: tuple[Any, ...], target: tuple[Any, ...], settings: dict[str, int]) -> bool:
    from math_verify import verify

    pair = list(gold), list(target)
    how: dict[str, Any] = {"allow_set_relation_comp": True, "timeout_seconds": None, "raise_on_error": True}
    return bool(verify(*pair, **settings, **how))


def _has_i(formula: Any) -> bool:
    return any(symbol.name == "i" for symbol in getattr(formula, "free_symbols", ()))


def _complex(formula: Any) -> Any:
    """Return a formula with the imaginary unit for its letter i, which math-verify leaves a variable."""
    from sympy import I

    return formula.subs({symbol: I for symbol in formula.free_symbols if symbol.name == "i"})
