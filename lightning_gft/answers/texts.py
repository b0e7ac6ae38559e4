r"""Parses answers in words and the letters of multiple choice."""

from __future__ import annotations

import re

from lightning_gft.answers.latex import tidy, unwrapped
from lightning_gft.answers.words import FUNCTIONS, MATHEMATICS

_WORDS = re.compile(r"[^\W\d_]+(?:(?: |-|'|, )[^\W\d_]+)*[!?]?")
_ARTICLE = re.compile(r"(?:the|an|a) (?=.)")
_SINGLE_GROUP = re.compile(r"\{(\w)\}")
_IDLE_SPACE = re.compile(r"(?<!\w) | (?!\w)")
_LETTER = r"(?:\((?P<in>[A-Za-z])\)|(?P<bare>[A-Za-z])(?=[).:]|$))"
_CHOICE = re.compile(rf"(?:(?:option|choice|answer) )?{_LETTER}[).:]* ?(?P<content>.*)", re.IGNORECASE | re.DOTALL)
_FURTHER = re.compile(r"(?:or\b|and\b|[,/&;])")
"""What joins a choice to a further one."""
_LONGEST_PRODUCT = 3
"""Letters of the longest product of variables."""


def same_text(answer: str, expected: str) -> bool:
    r"""Return whether two normalised answers are written alike, apart from meaningless spaces and braces.

    Example:
        >>> same_text("101_{2}", "101_2"), same_text(r"\text{yes}", "yes"), same_text("", "")
        (True, True, False)
    """
    return bool(answer) and (answer == expected or bare(answer) == bare(expected) != "")


def bare(text: str) -> str:
    r"""Return a normalised answer without the spaces and braces that :func:`same_text` ignores.

    Example:
        >>> bare(r"\text{x + y}"), bare("101_{2}")
        ('x+y', '101_2')
    """
    return _IDLE_SPACE.sub("", _SINGLE_GROUP.sub(r"\1", unwrapped(text)))


def read_words(text: str) -> str | None:
    r"""Return the words of a normalised answer in lower case, or ``None`` if it is mathematics.

    Example:
        >>> read_words(r"\text{No solution}"), read_words("the Circle"), read_words("xy")
        ('no solution', 'circle', None)
    """
    text = unwrapped(text)
    if not _WORDS.fullmatch(text):
        return None
    words = _ARTICLE.sub("", text.casefold().rstrip("!?"), count=1)
    names = re.split("[ ',-]+", words)
    if all(len(name) < _LONGEST_PRODUCT for name in names) and words != "no":
        return None
    if any(name in MATHEMATICS or name in FUNCTIONS for name in names):
        return None
    return words


def may_be_product(words: str) -> bool:
    """Return whether a text may be a product of variables, such as "abc"."""
    return words.isalpha() and len(words) <= _LONGEST_PRODUCT and words != "no"


def choice_agrees(answer: str, expected: str) -> bool | None:
    r"""Return whether an answer chooses the expected letter, or ``None`` if no letter is expected or chosen.

    Example:
        >>> choice_agrees(r"\textbf{(B)}\ 12", "B"), choice_agrees("B or C", "B"), choice_agrees("12", "B")
        (True, False, None)
    """
    wanted = _CHOICE.fullmatch(unwrapped(tidy(expected)))
    chosen = _CHOICE.fullmatch(unwrapped(tidy(answer)))
    if wanted is None or not (wanted["in"] or wanted["bare"]).isupper():
        return None
    if wanted["content"] and not wanted["in"]:
        return None
    if chosen is None:
        return False if _chooses_several(answer, wanted) else None
    if _FURTHER.match(chosen["content"]):
        return False
    return (chosen["in"] or chosen["bare"]).upper() == (wanted["in"] or wanted["bare"])


def read_choice(answer: str) -> str | None:
    r"""Return the letter that an answer chooses in upper case, or ``None`` if it may be anything else.

    Example:
        >>> read_choice("(b)"), read_choice(r"\textbf{(B)}\ 12"), read_choice("(x) + 1"), read_choice("A or B")
        ('B', 'B', None, None)
    """
    chosen = _CHOICE.fullmatch(unwrapped(tidy(answer)))
    if chosen is None or _FURTHER.match(chosen["content"]):
        return None
    letter = str(chosen["in"] or chosen["bare"])
    if chosen["content"]:
        return letter if chosen["in"] and letter.isupper() and chosen["content"][0].isalnum() else None
    return letter.upper() if chosen["in"] or letter.isupper() else None


def _chooses_several(answer: str, wanted: re.Match[str]) -> bool:
    return (
        not wanted["content"] and re.fullmatch(r"\(?[A-Z]\)?(?: ?(?:,|or|and|/|&) ?\(?[A-Z]\)?)+", answer) is not None
    )
