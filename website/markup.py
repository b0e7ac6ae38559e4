"""Markdown for the site from docstrings and from pages that are also read on GitHub."""

from __future__ import annotations

import re

ROLE = re.compile(r":[a-z]+:`(~?)([^`]+)`")
CODE = re.compile(r"`[^`\n]+`")


def without_roles(text: str) -> str:
    """Return a docstring with Sphinx roles as plain code.

    Example:
        >>> without_roles("See :class:`~lightning_gft.Reward` and :meth:`Reward.score`.")
        'See `Reward` and `Reward.score`.'
    """
    return ROLE.sub(lambda role: f"`{role[2].rpartition('.')[2] if role[1] else role[2]}`", text)


def for_griffe(docstring: str) -> str:
    r"""Return a docstring as griffe reads it: without roles, and with its name for a section of examples.

    Example:
        >>> for_griffe("See :func:`f`.\n\nExample:\n    1 + 1")
        'See `f`.\n\nExamples:\n    1 + 1'
    """
    return re.sub(r"^Example:$", "Examples:", without_roles(docstring), flags=re.MULTILINE)


def cell(text: str) -> str:
    r"""Return a text as one cell of a table.

    Example:
        >>> print(cell("``a | b``: one\nof two"))
        `a | b`: one of two
    """
    line = " ".join(without_roles(text).split()).replace("``", "`")
    pieces = CODE.split(line)
    codes = CODE.findall(line)
    plain = [piece.replace("|", "\\|").replace("<", "&lt;").replace("{", "&#123;") for piece in pieces]
    return "".join(text for pair in zip(plain, [*codes, ""], strict=True) for text in pair)


def unescaped_row(line: str) -> str:
    r"""Return a row of a table without the backslash of bars within code.

    GitHub needs that backslash and leaves it out; Python-Markdown needs none and would show it.

    Example:
        >>> unescaped_row(r"| `<\|end\|>` | a \| b |")
        '| `<|end|>` | a \\| b |'
    """
    if not line.startswith("|"):
        return line
    return CODE.sub(lambda code: code[0].replace(r"\|", "|"), line)
