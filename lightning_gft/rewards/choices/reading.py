"""Reads the choice of a response."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from lightning_gft.answers.statements import after_statement
from lightning_gft.answers.typography import boxed
from lightning_gft.rewards.choices.options import Choices

_NONE: frozenset[str] = frozenset()
_MARKUP = re.compile(r"\\(?:text|textbf|mathbf|mathrm|rm|bf|textit)\s*(?=\{)|[*_`$#{}]+|\\[(){}\[\]]|</?[a-z]+>")
_IDLE = re.compile(
    r"(?:[*_`\s:]|\b(?:definitely|clearly|therefore|thus|option|choice|letter|number)\b)*", re.IGNORECASE
)
_OPENED, _CLOSED = r"[(\[<]?\s*", r"\s*[)\]>]?"
_LABEL = r"(?P<label>[A-Za-z]|[0-9]{1,2})"
_ALONE = re.compile(rf"{_OPENED}{_LABEL}{_CLOSED}[\s.,:;!]*")
_BRACKETED = re.compile(rf"(?:[(\[<]\s*{_LABEL}\s*[)\]>]|(?P<half>[A-Za-z]|[0-9]{{1,2}})\s*[)\]])[\s.:,-]*(?P<rest>.*)")
_FOLLOWED = re.compile(rf"{_LABEL}\s*(?:[.:,;]|\s[-–—]\s|—)\s*(?P<rest>.*)")  # noqa: RUF001 (dashes)
_SPACED = re.compile(rf"{_LABEL}\s+(?P<rest>.+)")
_REASON = re.compile(r"\(|(?:because|since|as|which|due|for|given|not|rather)\b", re.IGNORECASE)
_ANOTHER = re.compile(r"(?:and|or|&|/|,|\+|but|nor)?\s*[(\[]?(?P<label>[A-Za-z]|[0-9]{1,2})(?![\w'])")
_LATER = re.compile(r"(?:\b(?:and|or|nor)\b|[,&/;])\s*[(\[]?(?P<label>[A-Za-z]|[0-9]{1,2})[)\]]", re.IGNORECASE)
_JOINED = re.compile(r"(?:and|or|nor)\b|[&/+,]", re.IGNORECASE)


def given_choices(response: str, choices: Choices) -> frozenset[str]:
    r"""Return the labels that a response may mean: one, none, or those of choices with equal texts.

    The last ``\boxed{}`` counts; without one, the last "answer is ..." or the like; without either, the whole response
    or else its last line. If a box or a statement gives no single choice, no other place is read.

    Example:
        >>> from lightning_gft.rewards.choices.options import read_choices
        >>> offered = read_choices(["Rome", "Paris"])
        >>> [*given_choices("Not Rome, so the answer is **B) Paris**.", offered)]
        ['B']
        >>> [*given_choices("A or B", offered)]
        []
    """
    response = unicodedata.normalize("NFKC", response)
    if (inside := boxed(response, first=False)) is not None:
        return _read(inside, choices)
    if (said := after_statement(response)) is not None:
        return _read_statement(said, choices)
    if whole := _read(response, choices):
        return whole
    lines = [line for line in response.splitlines() if line.strip()]
    if not lines or _lists_choices(lines, choices):
        return _NONE
    return _read(lines[-1], choices)


def _read_statement(text: str, choices: Choices) -> frozenset[str]:
    """Read the text after "the answer is", up to the end of the line or of the first sentence."""
    text = _IDLE.sub("", text, count=1).partition("\n")[0]
    first = re.split(r"(?<=\w)[.!?]\s", text, maxsplit=1)[0]
    return _read(text, choices) or (_read(first, choices) if len(first) > 2 else _NONE)


def _read(text: str, choices: Choices) -> frozenset[str]:
    """Return the meaning of a text that consists of a choice only: its label, its text or both."""
    text = " ".join(_MARKUP.sub(" ", text).split()).strip(" \"'“”")
    if same := choices.with_text(text):
        return same
    if alone := _ALONE.fullmatch(text):
        return _known(alone["label"], choices)
    if bracketed := _BRACKETED.fullmatch(text):
        return _with_rest(bracketed["label"] or bracketed["half"], bracketed["rest"], choices)
    if (followed := _FOLLOWED.fullmatch(text)) and not followed["label"].islower():  # "i.e." is no choice
        return _with_rest(followed["label"], followed["rest"], choices)
    if (spaced := _SPACED.fullmatch(text)) and not spaced["label"].islower():
        return _spaced(spaced["label"], spaced["rest"], choices)
    return _NONE


def _known(label: str, choices: Choices) -> frozenset[str]:
    own = choices.labelled(label)
    return _NONE if own is None else frozenset({own})


def _with_rest(label: str, rest: str, choices: Choices) -> frozenset[str]:
    """Return a label, unless another label or the text of another choice follows it."""
    known, same = _known(label, choices), choices.with_text(rest)
    if same:
        return known & same
    if _names_another(label, rest, choices):
        return _NONE
    return known


def _spaced(label: str, rest: str, choices: Choices) -> frozenset[str]:
    """Return a label that only a space separates from the rest; "A" may be an article there."""
    if _REASON.match(rest) or choices.with_text(rest):
        return _with_rest(label, rest, choices)
    if choices.texts or label in "AI" or _JOINED.match(rest):
        return _NONE
    return _with_rest(label, rest, choices)


def _names_another(label: str, rest: str, choices: Choices) -> bool:
    another = _ANOTHER.match(rest) or _LATER.search(rest)
    if another is None:
        return False
    is_article = another["label"] in "aAI" and not _JOINED.match(another[0]) and not _ALONE.fullmatch(rest)
    return not is_article and choices.labelled(another["label"]) not in (None, choices.labelled(label))


def _lists_choices(lines: list[str], choices: Choices) -> bool:
    """Return whether lines begin with different labels: then they repeat the question's choices."""
    return len({label for line in {*lines} for label in _leading(line, choices)}) > 1


def _leading(line: str, choices: Choices) -> Iterator[str]:
    text = " ".join(_MARKUP.sub(" ", line).split()).lstrip("- ")
    for form in (_ALONE, _BRACKETED, _FOLLOWED):
        if found := form.fullmatch(text):
            label = found["label"] or found.groupdict().get("half") or ""
            yield from _known(label, choices)
            return
