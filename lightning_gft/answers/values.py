"""Whether two of sympy's expressions have different values at a point."""

from __future__ import annotations

import zlib
from typing import Any

_DIGITS = 50
"""Digits of a value at a point: so many that enough are left where large terms cancel."""
_ROUGHLY = 1e-4
"""Relative accuracy of an integral by quadrature, which no verdict of "equal" follows from."""


def differ_at_a_point(one: Any, other: Any, tolerance: float) -> bool:
    """Say whether two expressions certainly differ, as their values do where each variable has some positive number.

    Most answers that are wrong are so here, which spares sympy the attempt to simplify their difference. What cannot be
    evaluated, such as a set or an integral without bounds, does not differ.

    Example:
        >>> from sympy import symbols
        >>> x = symbols("x")
        >>> differ_at_a_point((x + 1) ** 2, x**2 + 1, 1e-6), differ_at_a_point((x + 1) ** 2, x**2 + 2 * x + 1, 1e-6)
        (True, False)
    """
    points = [_value_at_a_point(formula) for formula in (one, other)]
    values = [point[0] for point in points if point is not None]
    if len(values) < len(points):
        return False
    difference, largest = abs(values[0] - values[1]), max(map(abs, values))
    accuracy = max(point[1] for point in points if point is not None)
    return bool(difference > max(2 * tolerance, largest * accuracy))


def _value_at_a_point(formula: Any) -> tuple[Any, float] | None:
    """Return a value and its relative accuracy."""
    from sympy import E, Expr, Float, I

    if not isinstance(formula, Expr):
        return None
    point = {
        symbol: Float(0.3 + zlib.crc32(symbol.name.encode()) % 997 / 613, _DIGITS) for symbol in formula.free_symbols
    }
    point.update(
        (symbol, {"i": I, "e": E}[symbol.name]) for symbol in formula.free_symbols if symbol.name in ("i", "e")
    )
    at_point = formula.subs(point)
    integrals = _integrals(at_point)
    at_point = at_point.xreplace(integrals)
    if needs_more_than_arithmetic(at_point):
        return None
    real, imaginary = at_point.evalf(_DIGITS).as_real_imag()
    if not all(part.is_Number and part.is_finite for part in (real, imaginary)):
        return None
    return real + I * imaginary, _ROUGHLY if integrals else 1e-9


def _integrals(formula: Any) -> dict[Any, Any]:
    """Return the integrals of one real function between numbers, with their values as far as they are sure."""
    from sympy import Integral

    return {one: value for one in formula.atoms(Integral) if (value := _quadrature(one)) is not None}


def _quadrature(integral: Any) -> Any:
    """Return a value on which two rules agree, as they do not where an integral diverges or is hard."""
    import mpmath
    from sympy import Float

    limits = integral.limits
    if (
        len(limits) != 1
        or len(limits[0]) != 3
        or integral.free_symbols
        or needs_more_than_arithmetic(integral.function)
    ):
        return None
    variable, *bounds = limits[0]
    if not all(bound.is_number and bound.is_finite for bound in bounds):
        return None

    def at(place: Any) -> Any:
        return integral.function.evalf(15, subs={variable: Float(place)})._to_mpmath(53)

    ends = [bound.evalf(15)._to_mpmath(53) for bound in bounds]
    try:
        value, other = (mpmath.quad(at, ends, method=rule, maxdegree=6) for rule in ("tanh-sinh", "gauss-legendre"))
    except (ArithmeticError, AttributeError, TypeError, ValueError):
        return None  # a function that has no number there
    is_sure = mpmath.isfinite(value) and value != 0 and abs(value - other) <= _ROUGHLY / 100 * abs(value)
    return Float(value.real) if is_sure and abs(value.imag) <= _ROUGHLY * abs(value) else None


def needs_more_than_arithmetic(formula: Any) -> bool:
    """Say whether a formula holds what takes more than arithmetic to evaluate."""
    from sympy import Integral, Limit, Product, Sum
    from sympy.core.function import AppliedUndef, Derivative

    return bool(formula.has(Integral, Sum, Product, Limit, Derivative, AppliedUndef))
