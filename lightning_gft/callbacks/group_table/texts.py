"""Texts of a model or of data, made safe to look at."""

from __future__ import annotations

import re
import unicodedata

from lightning_gft.checks import cut

_UNSEEN = {"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"}
"""Categories of characters that a terminal obeys, or that are not seen: control, direction, private, separators."""
_MARKDOWN = re.compile(r"[&<>\\`*_{}\[\]()#+\-.!|~$:]")
"""What a Markdown viewer might take for markup, or for the address of an image that it then loads."""


def visible(text: str, length: int | None = None) -> str:
    r"""Return a text whose every character is seen: those that would not be are written as in Python, but line breaks.

    Args:
        text: Of any origin.
        length: Most characters of it; of a longer one the beginning and the end are left, and how many are missing.

    Example:
        >>> print(visible("a\x1b[2Jb\u202ec\nd"))
        a\x1b[2Jb\u202ec
        d
    """
    text = text if length is None else cut(text, length)
    return "".join(character if _is_seen(character) else _written(character) for character in text)


def markdown(text: str) -> str:
    r"""Return a visible text for a cell of a Markdown table, in which it stands for itself.

    Example:
        >>> markdown("2*3 | <b>\nx")
        '2&#42;3 &#124; &#60;b&#62;<br>x'
    """
    return _MARKDOWN.sub(lambda match: f"&#{ord(match[0])};", text).replace("\n", "<br>")


def _is_seen(character: str) -> bool:
    return character == "\n" or unicodedata.category(character) not in _UNSEEN


def _written(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
