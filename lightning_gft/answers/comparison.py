r"""Compares answers: their shapes first, then each single value as a number, as text or by algebra."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction

from lightning_gft.answers.numbers import Quantity, read_quantity
from lightning_gft.answers.shapes import Shape, top_level
from lightning_gft.answers.texts import may_be_product, read_words, same_text
from lightning_gft.answers.units import read_unit
from lightning_gft.answers.words import FUNCTIONS

Algebra = Callable[[str, str], bool]
"""Returns whether a formula equals the expected one; both are LaTeX."""

_SEVERAL = ("list", "set", "tuple", "interval", "union")
_RELATION = re.compile(r"[<>]|\\(?:leq|geq|neq|in|subset)(?![a-z])")
_OF_SETS = re.compile(_RELATION.pattern + r"|\\(?:mathbb|emptyset|cup|cap|setminus|mid)(?![a-z])|\\\{")
_WITH_UNIT = re.compile(
    r"(?P<formula>.*[0-9})a-z]) ?(?:\\text\{ ?(?P<set>[^{}]*)\}|(?<=[0-9)}]) (?P<plain>[A-Za-z]{2,}(?:[ /][A-Za-z]+)*))"
    r"(?:\^\{?(?P<power>[0-9])\}?)?",
    re.DOTALL,
)
_BASED = re.compile(r"(?P<digits>[0-9A-Fa-f]+)(?:_\{?(?P<base>[0-9]+)\}?)?")
_TWO_NUMBERS = re.compile(r"(?<![_^0-9.,])[0-9.,]*[0-9] [0-9]+(?![0-9]* ?/)")
"""Two numbers side by side. math-verify would multiply them."""
_LONGEST_FORMULA = 1_000
"""Characters of the longest formula that is compared by algebra."""
_INDEFINITE = re.compile(r"\\int(?![a-zA-Z_]| _)")
"""An integral without bounds, which only repeats the question."""
_VARIABLE = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z](?![a-zA-Z])")
_DEGREES = re.compile(r" ?\^ ?(?:\{ ?\\circ ?\}|\\circ) ?")


class Comparer:
    """Compares answers with expected ones.

    Args:
        algebra: Returns whether two LaTeX formulas are equal; called only if nothing simpler decides.
        float_rounding: Decimals that must agree if one of two numbers is written with decimals.
    """

    def __init__(self, algebra: Algebra, float_rounding: int = 6) -> None:
        self.algebra = algebra
        self.tolerance = Fraction(1, 10**float_rounding)

    def agree(self, answer: Shape, expected: Shape) -> bool:
        """Return whether an answer equals the expected one, whatever their shapes."""
        if answer.name and expected.name and not same_text(answer.name, expected.name):
            return False
        kinds = answer.kind, expected.kind
        if kinds == ("one", "one"):
            return self.equal(_full(answer, expected), _full(expected, answer))
        if kinds in (("list", "list"), ("set", "set"), ("list", "set"), ("set", "list")):
            return self._unordered(answer.parts, expected.parts)
        if kinds == ("union", "union"):
            return self._unordered(answer.parts, expected.parts) or self.algebra(answer.text, expected.text)
        if answer.kind == expected.kind:
            return self._alike(answer, expected)
        return self._differently_written(answer, expected)

    def _alike(self, answer: Shape, expected: Shape) -> bool:
        if answer.kind == "ratio":
            return self._ratio(answer, expected)
        return answer.ends == expected.ends and self._ordered(answer.parts, expected.parts)

    def _differently_written(self, answer: Shape, expected: Shape) -> bool:
        kinds = {answer.kind, expected.kind}
        several = expected if answer.kind == "one" else answer
        single = answer if answer.kind == "one" else expected
        if "ratio" in kinds and "one" in kinds:
            return self.equal(*(shape.text.replace(":", "/") for shape in (answer, expected)))
        if kinds == {"list", "tuple"} or (answer.kind, expected.kind) == ("interval", "list"):
            return self._ordered(answer.parts, expected.parts)
        if kinds == {"matrix", "tuple"} and "x1" in answer.ends + expected.ends:
            return self._ordered(answer.parts, expected.parts)
        if "one" in kinds and len(several.parts) == 1:
            return self.agree(*((single, several.parts[0]) if single is answer else (several.parts[0], single)))
        if kinds <= {"one", "set", "interval", "union", "tuple"} and kinds & {"set", "interval", "union", "tuple"}:
            return self._as_sets(answer, expected)
        return False

    def _as_sets(self, answer: Shape, expected: Shape) -> bool:
        r"""Compare a set with a condition or a name, such as ``[3, \infty)`` with ``x \geq 3``."""
        if {answer.kind, expected.kind} == {"tuple", "interval"}:
            return self._alike(answer, expected)  # an open interval looks like a tuple
        if {answer.kind, expected.kind} == {"tuple", "set"}:
            return False
        single = answer if answer.kind == "one" else expected
        is_set = single.kind != "one" or _OF_SETS.search(single.text) is not None
        return is_set and self.algebra(answer.text, expected.text)

    def _ordered(self, answers: Sequence[Shape], expected: Sequence[Shape]) -> bool:
        return len(answers) == len(expected) and all(map(self.agree, answers, expected))

    def _unordered(self, answers: Sequence[Shape], expected: Sequence[Shape]) -> bool:
        if len(answers) != len(expected):
            return False
        rest = list(answers)
        for one in expected:
            found = next((index for index, answer in enumerate(rest) if self.agree(answer, one)), None)
            if found is None:
                return False
            del rest[found]
        return True

    def _ratio(self, answer: Shape, expected: Shape) -> bool:
        of_answer, of_expected = ([Fraction(part.text.strip()) for part in shape.parts] for shape in (answer, expected))
        if len(of_answer) != len(of_expected):
            return False
        return all(
            one * of_expected[0] == other * of_answer[0] for one, other in zip(of_answer, of_expected, strict=True)
        )

    def equal(self, answer: str, expected: str) -> bool:
        """Return whether an answer of a single value equals the expected one."""
        if same_text(answer, expected):
            return True
        if (in_base := _in_base(answer, expected)) is not None:
            return in_base
        number, wanted = read_quantity(answer), read_quantity(expected)
        if number is not None and wanted is not None:
            return self.same_quantity(number, wanted)
        in_words = self._in_words(answer, expected)
        if in_words is not None:
            return in_words
        if bool(_RELATION.search(answer)) != bool(_RELATION.search(expected)):
            return False
        return self._by_algebra(answer, expected, wanted is not None)

    def _in_words(self, answer: str, expected: str) -> bool | None:
        words, wanted = read_words(answer), read_words(expected)
        if words is None and wanted is None:
            return None
        if words == wanted:
            return True
        products = all(one is None or may_be_product(one) for one in (words, wanted))
        return None if products else False

    def _by_algebra(self, answer: str, expected: str, expects_number: bool) -> bool:
        if len(sides := top_level(answer, "=")) > 1 and len(top_level(expected, "=")) == 1:
            numbers = [number for side in sides[:-1] if (number := read_quantity(side)) is not None]
            last = read_quantity(sides[-1])
            is_true = last is None or all(self.same_quantity(number, last) for number in numbers)
            return is_true and self.equal(sides[-1], expected)
        if _certainly_differ(answer, expected, expects_number):
            return False
        formula, unit = _without_unit(answer)
        wanted, wanted_unit = _without_unit(expected)
        if not unit and not wanted_unit:
            return self.algebra(_in_radians(answer, expected), _in_radians(expected, answer))
        ratio = _ratio_of_units(unit, wanted_unit)
        if not ratio:
            return False
        return self.equal(formula if ratio == 1 else rf"({formula}) \cdot {ratio}", wanted)

    def same_quantity(self, number: Quantity, wanted: Quantity) -> bool:
        """Return whether two numbers agree: 50% equals both 50 and 0.5, and a missing unit is ignored."""
        ratio = _ratio_of_units(number.unit, wanted.unit)
        if not ratio:
            return False
        value, other = number.value * ratio, wanted.value
        rounded = number.rounded or wanted.rounded
        if self._near(value, other, rounded):
            return True
        if number.percent == wanted.percent:
            return False
        return self._near(value / 100, other, rounded) if number.percent else self._near(value, other / 100, rounded)

    def _near(self, value: Fraction, wanted: Fraction, rounded: bool) -> bool:
        if value == wanted or not rounded:
            return value == wanted
        return abs(value - wanted) <= self.tolerance * min(Fraction(1), max(abs(value), abs(wanted)))


def _in_base(answer: str, expected: str) -> bool | None:
    """Compare numbers of which one has its base as a subscript; the other may omit it."""
    number, wanted = _BASED.fullmatch(answer), _BASED.fullmatch(expected)
    if number is None or wanted is None or not (number["base"] or wanted["base"]):
        return None
    if not (number["digits"] + wanted["digits"]).isdigit() and {number["base"], wanted["base"]} != {"16"}:
        return None
    same_base = number["base"] == wanted["base"] or not (number["base"] and wanted["base"])
    return same_base and number["digits"].upper() == wanted["digits"].upper()


def _full(shape: Shape, other: Shape) -> str:
    """Return a value with its name if the other is an equation without one: "y = 2x + 1" beside "y - 2x = 1"."""
    return f"{shape.name} = {shape.text}" if shape.name and not other.name and "=" in other.text else shape.text


def _ratio_of_units(unit: str, wanted: str) -> Fraction:
    """Return the size of a unit in the wanted one: 1 if either is missing or unknown, 0 if their kinds differ."""
    mine, theirs = (None, None) if unit == wanted else (read_unit(unit), read_unit(wanted))
    if mine is None or theirs is None:
        return Fraction(1)
    return mine.size / theirs.size if mine.kinds == theirs.kinds else Fraction(0)


def _certainly_differ(answer: str, expected: str, expects_number: bool) -> bool:
    """Return whether two formulas differ by their symbols alone, including cases that math-verify overlooks."""
    if len(answer) > _LONGEST_FORMULA or _TWO_NUMBERS.search(answer):
        return True
    if expects_number and not any(character.isdigit() or character in "\\ei" for character in answer):
        return True
    if _VARIABLE.fullmatch(expected) and expected not in "ei":
        return _VARIABLE.fullmatch(answer) is not None or read_quantity(answer) is not None
    if _INDEFINITE.search(answer) and not _INDEFINITE.search(expected):
        return True
    return _differ_in_case(answer, expected)


def _differ_in_case(answer: str, expected: str) -> bool:
    """Return whether a variable is upper case in one formula and lower case in the other; math-verify ignores case."""
    mine, theirs = (set(_VARIABLE.findall(text)) for text in (answer, expected))
    return any(letter.swapcase() in theirs - mine for letter in mine - theirs)


def _without_unit(text: str) -> tuple[str, str]:
    match = _WITH_UNIT.fullmatch(text)
    words = (match["set"] or match["plain"] or "").strip() if match else ""
    if match is None or not words or words in FUNCTIONS:
        return text, ""
    return match["formula"].strip(), words + (f"^{match['power']}" if match["power"] else "")


def _in_radians(text: str, other: str) -> str:
    """Convert an angle to radians if it is a function's argument or the other formula contains pi."""
    if r"\circ" not in text:
        return text
    if r"\circ" not in other and (r"\pi" in other or re.search(r"\\(?:sin|cos|tan|cot|sec|csc)", text)):
        return re.sub(r"([0-9.]+)" + _DEGREES.pattern, r"(\1 \\cdot \\frac{\\pi}{180})", text)
    return _DEGREES.sub("", text)
