"""What algebra decides, what arithmetic spares it, and what it does not begin with."""

import pytest

from lightning_gft.answers.algebra import TooLargeError, check_size, equal_by_algebra, parse_formula
from lightning_gft.answers.values import differ_at_a_point


@pytest.mark.parametrize(
    "formula", ["e^{e^{e^{e^x}}}", "x^{y^{z^{w^2}}}", "e^(e^(e^(e^x)))", r"1 + \frac{2^{a^{b^{c^{d}}}}}{3}"]
)
def test_four_exponents_upon_each_other_are_too_large(formula):
    with pytest.raises(TooLargeError, match="got 4 nested levels of exponents"):
        check_size(formula)


@pytest.mark.parametrize(
    "formula", ["e^{e^{e^x}}", "e^{x^{2^n}}", "x^{2} y^{2} z^{2} w^{2} v^{2}", "e^{a^2+b^2+c^2+d^2}"]
)
def test_exponents_beside_each_other_are_not(formula):
    check_size(formula)


@pytest.mark.parametrize(
    "formula",
    [
        r"\sum_{a=1}^{999} \sum_{b=1}^{999} a^b",
        r"\sum_{a=1}^{999} \left(\sum_{b=1}^{999} a^b + 2\right)",
        r"\sum_{a=1}^{999} \prod_{b=1}^{999} (a+b)",
        r"x + \sum_{a=1}^{99} \sum_{b=1}^{99} \sum_{c=1}^{99} a^{bc}",
    ],
)
def test_sums_within_sums_of_many_terms_are_too_large(formula):
    with pytest.raises(TooLargeError, match=r"got nested sums of \d+ terms"):
        parse_formula(formula)


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        (r"\sum_{a=1}^{9} \sum_{b=1}^{9} ab", "2025"),
        (r"\sum_{k=1}^{10000} k", "50005000"),
        (r"\sum_{k=1}^{\infty} \frac{1}{k^2}", r"\frac{\pi^2}{6}"),
    ],
)
def test_other_sums_are_worked_out(formula, value):
    assert equal_by_algebra(formula, value)
    assert not equal_by_algebra(formula, "2024")


@pytest.mark.parametrize(
    ("integral", "equal", "other"),
    [
        (r"\int_0^1 x^2 dx", r"\frac{1}{3}", "0.334"),
        (r"\int_0^{\pi} \sin x dx", "2", "2.001"),
        (r"1 + 2\int_0^1 e^x dx", "2e - 1", "2e"),
        (r"\int_0^a x dx", r"\frac{a^2}{2}", "a^2"),
    ],
)
def test_definite_integrals(integral, equal, other):
    assert equal_by_algebra(integral, equal)
    assert not equal_by_algebra(integral, other)
    assert differs(integral, other)
    assert not differs(integral, equal)


def test_integrals_without_a_closed_form_differ_by_their_values():
    integral = r"\int_0^2 e^{-x^2} \sin(x^3) \ln(1+x) dx"
    assert differs(integral, "1")
    assert differs(integral, r"\int_0^3 e^{-x^2} \sin(x^3) \ln(1+x) dx")
    assert not differs(integral, r"\int_0^2 e^{-y^2} \ln(1+y) \sin(y^3) dy")


@pytest.mark.parametrize(
    "integral",
    [
        *(r"\int_0^1 \frac{1}{x} dx", r"\int_0^1 \frac{1}{x^2} dx", r"\int_{-1}^1 \frac{1}{x} dx"),
        *(r"\int_0^3 \frac{1}{(x-1)^2} dx", r"\int_0^1 \tan(\pi x) dx", r"\int_0^1 \frac{\sin x}{x^2} dx"),
        *(r"\int_0^{100} \sin(x^2) dx", r"\int_0^{1000} e^{-(x-500)^2} dx"),
    ],
)
def test_what_diverges_or_is_hard_is_not_decided_by_values(integral):
    for other in ("0", "1", "-1234.5", r"\int_0^1 x^2 dx"):
        assert not differs(integral, other)


def differs(one, other):
    return differ_at_a_point(*parse_formula(one), *parse_formula(other), 1e-6)
