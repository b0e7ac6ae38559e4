"""The words around a number: units, scales and words that make the number a part of an expression."""

from __future__ import annotations

import re

LATIN = "A-Za-z\u00b5\u00c0-\u024f\u0370-\u03ff"
"""Letters, as a character class of a regular expression; a single one is a variable."""
SCALES = {
    **{"dozen": 12, "dozens": 12, "hundred": 100, "thousand": 1000},
    **{"million": 10**6, "billion": 10**9, "trillion": 10**12},
}
"""Words that multiply the number before them, with their factors."""
UNIT_LETTERS = frozenset("mghsLlWVAJN")
_SHORT_UNITS = (
    "mm cm dm km nm um µm in ft yd mi mg kg oz lb lbs ml mL dl dL cl cL sec min hr hrs mph kph kmh kW kWh Wh MW mA "
    "mV kV kN Hz kHz MHz GHz Pa kPa kJ cal MB GB TB px st nd rd th am pm AM PM USD EUR GBP CHF cts ct pt pts sq cu deg "
    "rad mol ppm yr yrs wk wks day"
)
UNITS = frozenset(_SHORT_UNITS.split())
"""Units of two or three letters; directly after a number they could also be a product of variables."""
_MATHEMATICAL = "pi sqrt root squared cubed factorial choose mod times plus minus log ln exp"
MATHEMATICS = frozenset(_MATHEMATICAL.split())
"""Words after a number that make it a part of an expression."""
FUNCTIONS = frozenset(["log", "ln", "exp", "sin", "cos", "tan", "max", "min", "gcd", "lcm"])
ARTICLES = frozenset("aAI")
JOINING = frozenset(["and", "or", "to"])
HEDGES = frozenset(["maybe", "perhaps", "possibly", "even", "about", "also", "just"])
"""Words that may stand between a joining word and the number that it joins."""
_MEASURES = """
    years year months month weeks week days day hours hour hrs hr h minutes minute mins min seconds second secs sec s
    miles mile yards yard yd feet foot ft inches inch km m cm mm kg g grams gram pounds pound lbs lb ounces ounce oz
    gallons gallon quarts quart pints pint dollars dollar euros euro cents cent degrees degree
"""
MEASURES = frozenset(_MEASURES.split())
"""Units after which a second number continues the first, as in "2 hours 30 minutes"."""
NEGATING = r"(?i:minus|negative)"
"""Words that mean a minus sign before a number, as a regular expression."""
CHANGING = r"""(?i:
    (?: half | twice | thrice | double | triple | quadruple | times | plus ) (?:\ of)? (?:\ the)?
  | (?: thirds? | quarters? | fourths? | fifths? | sixths? | eighths? | tenths? | percent | square | cube | root | roots
      | factorial | reciprocal | inverse | opposite | negation | negative | value | logarithm | log | remainder | power
      | multiple | multiples | factor | factors ) \ of (?:\ the)?
)"""
"""Phrases that change the number after them, as a verbose regular expression."""
LINKING = r"""(?i:
    over | by | of | out\ of | per | into | through | versus | vs | modulo
  | (?: divided | multiplied | reduced | increased ) \ by
  | raised\ to (?:\ the (?:\ power (?:\ of)? )? )? | to\ the (?:\ power (?:\ of)? )?
  | (?: less | fewer | smaller | more | greater | larger ) \ than
)"""
"""Phrases that join two numbers into one expression, as a verbose regular expression."""


def kind_of_attached(word: str) -> str:
    """Return the kind of a word directly after a number: "12cm" and "12elephants" have units, "12xy" is a product."""
    names = [part.split("^")[0].rstrip("0123456789") for part in word.split("/")]
    if names[0] in MATHEMATICS:
        return "m"
    return "u" if all(name in UNITS or name in UNIT_LETTERS or _is_prose(name) for name in names) else "v"


def _is_prose(name: str) -> bool:
    return len(name) > 3 or not re.match(f"[{LATIN}]", name)


def is_variable(word: str) -> bool:
    """Return whether a word is one letter that is no unit, or several such letters with slashes between."""
    names = [part.split("^")[0].rstrip("0123456789") for part in word.split("/")]
    return all(len(name) == 1 and name not in UNIT_LETTERS and re.match(f"[{LATIN}]", name) for name in names)
