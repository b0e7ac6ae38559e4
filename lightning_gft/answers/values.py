"""Compares two sympy expressions by their values at a point."""

from __future__ import annotations

import zlib
from typing import Any

_DIGITS = 50
"""Digits of a value at a point: enough of them remain where large terms cancel."""
_ROUGHLY = 1e-4
"""Relative accuracy of an integral by quadrature; no verdict of "equal" relies on it."""


def differ_at_a_point(one: Any, other: Any, tolerance: float) -> bool:
    """Return whether two expressions certainly differ because their values at one point do.

    Each variable takes some positive number. Most wrong answers differ here already, which saves sympy the attempt to
    simplify the difference. An expression that cannot be evaluated, such as a set or an integral without bounds,
    counts as not different.

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
    """Return the value at the point and its relative accuracy, or ``None`` if it cannot be evaluated."""
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
    """Return the values of the definite integrals of one variable, as far as they are reliable."""
    from sympy import Integral

    return {one: value for one in formula.atoms(Integral) if (value := _quadrature(one)) is not None}


def _quadrature(integral: Any) -> Any:
    """Return a value on which two quadrature rules agree; they disagree where an integral diverges or is hard."""
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
        return None  # the function has no numeric value at some point
    is_sure = mpmath.isfinite(value) and value != 0 and abs(value - other) <= _ROUGHLY / 100 * abs(value)
    return Float(value.real) if is_sure and abs(value.imag) <= _ROUGHLY * abs(value) else None


def needs_more_than_arithmetic(formula: Any) -> bool:
    """Return whether evaluating a formula takes more than arithmetic: an integral, a limit, a derivative, ..."""
    from sympy import Integral, Limit, Product, Sum
    from sympy.core.function import AppliedUndef, Derivative

    return bool(formula.has(Integral, Sum, Product, Limit, Derivative, AppliedUndef))
