r"""Splits a text into expressions: a number together with everything that belongs to it.

A text is split into *tokens*, each with a kind of one letter. Tokens that belong together form an *expression*, whose
``kinds`` is the string of their letters: ``3 1/2`` is ``nn/n`` and ``2\sqrt{7}`` is ``nm(n)``. A grammar over these
strings (:mod:`lightning_gft.answers.numbers`) then decides whether an expression is a number. A part of an expression
is never read as a number by itself.

| kind | token | kind | token |
|---|---|---|---|
| ``n`` | digits with separators | ``( )`` | a bracket of any shape |
| ``f`` | ``\frac`` of two numbers | ``,`` ``:`` | in a list, in a ratio |
| ``- + * / ^`` | an operator or a sign | ``i`` | an inequality, plus-minus |
| ``s`` | a word such as "million" | ``u`` | a unit, or any word after a number |
| ``p`` | percent, degree | ``v`` | a variable, or a product of some |
| ``m`` | a root, a function, a constant | ``o`` | "and", "or", "to" between numbers |
| ``w`` | "half of", "divided by": words that need the number after them | | |
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from lightning_gft.answers.tokens import EXPONENT, TOKEN
from lightning_gft.answers.words import (
    ARTICLES,
    FUNCTIONS,
    HEDGES,
    JOINING,
    LATIN,
    MATHEMATICS,
    MEASURES,
    SCALES,
    is_variable,
    kind_of_attached,
)

_SINGLE_LETTER = re.compile(f"[{LATIN}]{EXPONENT}?(?:/.*)?", re.VERBOSE)
_FRACTION_FOLLOWS = re.compile(r" ?/ ?[0-9]|\\frac")
_ARGUMENT_FOLLOWS = re.compile(r"[(_]| [0-9]")
_EQUAL_FOLLOWS = re.compile(" ?=")
_EQUAL = frozenset("=≈≃≅→⇒")

_LONGEST = 200
"""Tokens of an expression that are kept; further ones overwrite the last."""
_MOST_UNITS = 3
"""Words of the longest unit, such as "miles per hour"."""


@dataclass
class Expression:
    """Tokens that belong together.

    Args:
        kinds: One letter for each token, as in the module's table.
        texts: The tokens' texts, in the same order.
        continues: Whether an equals sign or an arrow precedes the expression.
    """

    kinds: str = ""
    texts: list[str] = field(default_factory=list)
    continues: bool = False


def find_expressions(text: str) -> tuple[list[Expression], list[str]]:
    """Return the expressions that hold a number or mathematics, and the tokens outside of any expression.

    Example:
        >>> found, others = find_expressions("so x = 3 1/2 cm")
        >>> [expression.kinds for expression in found], others
        (['nn/nu'], ['so', 'x', '='])
    """
    reader = _Reader(text)
    for match in TOKEN.finditer(text):
        reader.take(match)
    reader.end()
    return reader.found, reader.others


class _Reader:
    """Groups tokens into expressions, in one pass from left to right."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.found: list[Expression] = []
        self.others: list[str] = []
        self.current = Expression()
        self.depth = 0
        self.stop = 0
        """End of the previous token."""
        self.gap = False
        """Whether white space separates the previous token from this one."""

    def take(self, match: re.Match[str]) -> None:
        group = match.lastgroup or ""
        self.gap = match.start() > self.stop
        if group == "word" and not self.current.kinds and match.end() - match.start() > 1:
            self._first_word(match)  # the most frequent case by far
        else:
            _TAKE[group](self, match)
        self.stop = match.end()

    def end(self, by: str = "") -> None:
        """End the current expression, at the token ``by`` if one is given, which joins no expression."""
        current, self.depth = self.current, 0
        if current.kinds:
            if any(kind in "nfm" for kind in current.kinds):
                self.found.append(current)
            else:
                self.others += current.texts
        continues = by in _EQUAL and bool(by)
        self.current = Expression(continues=continues)
        if continues and current.texts[-2:-1] == ["or"]:  # "x = 5 or x = 6"
            self._add("o", "or")
        if by:
            self.others.append(by)

    def _add(self, kind: str, text: str) -> None:
        current = self.current
        if len(current.kinds) >= _LONGEST:  # too long for a number: only the last token matters for what follows
            current.kinds, current.texts[-1] = current.kinds[:-1] + kind, text
        else:
            current.kinds += kind
            current.texts.append(text)

    @property
    def _last(self) -> str:
        return self.current.kinds[-1:]

    def _take_n(self, match: re.Match[str]) -> None:
        last = self._last
        mixed = last == "n" and (match.lastgroup == "f" or _FRACTION_FOLLOWS.match(self.text, match.end()))
        if self.gap and last and last in "nfpuv)" and not (mixed or self._is_continued(last)):
            self.end()
        self._add(match.lastgroup or "n", match[0])

    def _is_continued(self, last: str) -> bool:
        r"""Return whether a number continues the expression before the white space: ``5 feet 3``, ``\log_2 8``."""
        texts = self.current.texts
        if last == "u":
            return texts[-1].lower() in MEASURES
        return last in "n)" and any(text.lstrip("\\") in FUNCTIONS for text in texts)

    def _take_changing(self, match: re.Match[str]) -> None:
        if self._last == "," and not self.depth:
            self.end()  # a remark follows
        self._add("w", match[0])

    def _take_linking(self, match: re.Match[str]) -> None:
        if self._last and self._last in "nfpsuv)w":
            self._add("w", match[0])
        else:
            self.end(match[0])

    def _take_negating(self, match: re.Match[str]) -> None:
        self._add("-", "-")

    def _first_word(self, match: re.Match[str]) -> None:
        word = match[0]
        is_call = word in FUNCTIONS and _ARGUMENT_FOLLOWS.match(self.text, match.end())
        if is_call or word in ("sqrt", "pi"):
            self._add("m", word)
        else:
            self.end(word)

    def _take_word(self, match: re.Match[str]) -> None:
        word, last = match[0], self._last
        after_number = bool(last) and last in "nfpsu"
        if last == "o" and word in HEDGES:
            return
        if last == "p" and word in "CF":
            self._add("u", word)  # degrees Celsius or Fahrenheit
        elif (after_number or last == ")") and not self.gap:
            self._add(kind_of_attached(word), word)
        elif after_number:
            self._word_after_number(word)
        elif _SINGLE_LETTER.fullmatch(word):
            self._letter(match)
        else:
            if last:
                self.end()
            self._first_word(match)

    def _word_after_number(self, word: str) -> None:
        last = self._last
        if word.lower() in SCALES and last in "nfs":
            self._add("s", word.lower())
        elif word in MATHEMATICS:
            self._add("m", word)
        elif word in JOINING:
            self._add("o", word)
        elif word in ARTICLES or self.current.kinds.endswith("u" * _MOST_UNITS):
            self.end(word)
        else:
            self._add("v" if is_variable(word) else "u", word)

    def _letter(self, match: re.Match[str]) -> None:
        word, last = match[0], self._last
        is_article = word in ARTICLES and self.text[match.end() : match.end() + 1] in ("", " ", "\n")
        is_other = last == "o" and not (self.current.texts[-1] == "or" and _EQUAL_FOLLOWS.match(self.text, match.end()))
        if is_article or (last == "," and not self.depth) or is_other:
            self.end(word)
        else:
            if self.gap and last and last in "v)":
                self.end()
            self._add("v", word)

    def _take_m(self, match: re.Match[str]) -> None:
        if self._last == "u":
            self.end()
        self._add("m", match[0])

    def _take_op(self, match: re.Match[str]) -> None:
        operator = "*" if match.lastgroup == "times" else match[0]
        gap_after = self.text[match.end() : match.end() + 1] in ("", " ", "\n")
        if operator == "*" and self.gap != gap_after and match.lastgroup != "times":
            self.end(operator)  # *emphasis*, not a product
        elif not self._last and operator == "*" and (match.start() == 0 or self.text[match.start() - 1] == "\n"):
            self.end(operator)  # the first item of a list
        else:
            self._add(operator, operator)

    def _take_open(self, match: re.Match[str]) -> None:
        last = self._last
        if last and (last in "uso" or (self.gap and last in "nfpv)")):
            self.end()
        self._add("(", match[0])
        self.depth += 1

    def _take_close(self, match: re.Match[str]) -> None:
        if self.depth:
            self._add(")", match[0])
            self.depth -= 1
        else:
            self.end(match[0])

    def _take_comma(self, match: re.Match[str]) -> None:
        last = self._last
        if last and (self.depth or last in "nfp)"):
            self._add(",", match[0])
        else:
            self.end(match[0])

    def _take_i(self, match: re.Match[str]) -> None:
        self._add("i", match[0])

    def _take_colon(self, match: re.Match[str]) -> None:
        self._add(":", match[0])

    def _take_p(self, match: re.Match[str]) -> None:
        if self._last and self._last in "nf":
            self._add("p", match[0])
        else:
            self.end(match[0])

    def _take_other(self, match: re.Match[str]) -> None:
        self.end(match[0])

    _take_f, _take_times, _take_break = _take_n, _take_op, _take_other


_TAKE = {group: getattr(_Reader, f"_take_{group}") for group in TOKEN.groupindex}
