"""Escapes texts of a model or of data for display."""

from __future__ import annotations

import re
import unicodedata

from lightning_gft.checks import cut

_UNSEEN = {"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"}
"""Categories of invisible characters and of those that control a terminal: control, direction, private, separators."""
_MARKDOWN = re.compile(r"[&<>\\`*_{}\[\]()#+\-.!|~$:]")
"""Characters that Markdown may render as markup, or as an image's address, which a viewer then loads."""


def visible(text: str, length: int | None = None) -> str:
    r"""Return a text with invisible characters as Python's escapes; line breaks stay.

    Args:
        text: Text of any origin.
        length: Most characters to return; a longer text keeps its beginning and end around the number left out.

    Example:
        >>> print(visible("a\x1b[2Jb\u202ec\nd"))
        a\x1b[2Jb\u202ec
        d
    """
    text = text if length is None else cut(text, length)
    return "".join(character if _is_seen(character) else _written(character) for character in text)


def markdown(text: str) -> str:
    r"""Return a visible text for a cell of a Markdown table, escaped so that it renders literally.

    Example:
        >>> markdown("2*3 | <b>\nx")
        '2&#42;3 &#124; &#60;b&#62;<br>x'
    """
    return _MARKDOWN.sub(lambda match: f"&#{ord(match[0])};", text).replace("\n", "<br>")


def _is_seen(character: str) -> bool:
    return character == "\n" or unicodedata.category(character) not in _UNSEEN


def _written(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
