"""The choices of a question, and the one that a reference names."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from lightning_gft.errors import GFTValueError
from lightning_gft.rewards.text import shown

_WRAPPED_LABEL = re.compile(r"[(\[]?\s*([A-Za-z]|[0-9]{1,2})\s*[)\].:]?")


@dataclass(frozen=True)
class Choices:
    """The choices of a question.

    Args:
        labels: Label of each choice, usually a capital letter.
        texts: Text of each choice; empty if the data does not have them.
    """

    labels: tuple[str, ...]
    texts: tuple[str, ...] = ()

    def labelled(self, label: str) -> str | None:
        """Return a label in the case of the choices, or ``None`` if it is none of theirs."""
        return next((own for own in self.labels if own.casefold() == label.casefold()), None)

    def with_text(self, text: str) -> frozenset[str]:
        """Return the labels of the choices with a given text; seldom more than one."""
        wanted = comparable(text)
        pairs = zip(self.labels, self.texts, strict=False)
        return frozenset(label for label, own in pairs if wanted and comparable(own) == wanted)


ANY_LETTER = Choices(tuple(string.ascii_uppercase))
"""Choices of a question if the data does not have them: any letter."""


def read_choices(value: Any) -> Choices:
    """Return the choices of a column's entry: a list of texts, or a dict of ``text`` and ``label``.

    Raises:
        ValueError: If the entry is anything else.

    Example:
        >>> read_choices(["Rome", "Paris"])
        Choices(labels=('A', 'B'), texts=('Rome', 'Paris'))
        >>> read_choices({"text": ["Rome", "Paris"], "label": ["1", "2"]}).labels
        ('1', '2')
    """
    by_name = isinstance(value, Mapping)
    texts = value.get("text") if by_name else value
    if not isinstance(texts, list | tuple) or not 0 < len(texts) <= 26 or not all(isinstance(t, str) for t in texts):
        raise GFTValueError(
            f"the choices of MultipleChoiceReward: expected a list of 1 to 26 texts, got {shown(value)}; correct the "
            "data, or name another choices_column"
        )
    labels = value.get("label") if by_name else None
    labels = string.ascii_uppercase[: len(texts)] if labels is None else labels
    if len(labels) != len(texts) or len({*labels}) != len(labels):
        raise GFTValueError(
            f"the choices of MultipleChoiceReward: expected different labels, got {shown(value)}; correct the data"
        )
    return Choices(tuple(str(label) for label in labels), tuple(texts))


def read_reference(reference: Any, choices: Choices) -> str:
    """Return the label of the choice that a reference names: by its label, its position from 0, or its text.

    Raises:
        ValueError: If it names no choice, or one by its text and another by its label.

    Example:
        >>> offered = read_choices(["Rome", "Paris"])
        >>> read_reference("(b)", offered), read_reference(1, offered), read_reference("Paris", offered)
        ('B', 'B', 'B')
    """
    if isinstance(reference, Integral) and not isinstance(reference, bool):
        if int(reference) in range(len(choices.labels)):
            return choices.labels[int(reference)]
        raise _unread(reference, choices)
    if not isinstance(reference, str):
        raise _unread(reference, choices)
    wrapped = _WRAPPED_LABEL.fullmatch(reference.strip())
    label = choices.labelled(wrapped[1]) if wrapped else None
    named = {*choices.with_text(reference), *([label] if label else [])}
    if len(named) != 1:
        raise _unread(reference, choices)
    return str(named.pop())


def comparable(text: str) -> str:
    """Return a text in the form that is compared: in one case, without surrounding white space and punctuation.

    Example:
        >>> comparable(' "Paris." ')
        'paris'
    """
    text = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return text.strip(" .,;:!\"'`“”‘’")  # noqa: RUF001 (quotation marks)


def _unread(reference: Any, choices: Choices) -> GFTValueError:
    offered = ", ".join(choices.labels) if choices.texts else "A to Z"
    return GFTValueError(
        f"the reference of MultipleChoiceReward: expected one of {offered}, a position from 0"
        f"{', or the text of one choice' if choices.texts else ''}, got {shown(reference)}; correct the data"
        f"{'' if choices.texts else ', or name the choices_column'}"
    )
