"""Checks of texts that YAML reads otherwise than they were meant."""

from __future__ import annotations

import re

from lightning_gft.errors import GFTValueError

_LATEX = "nabla|natural|ne|neg|neq|newline|ngeq|ni|nleq|nmid|noindent|nolimits|nonumber|not|notin|nu|null"
_WRITTEN_BREAK = re.compile(rf"\\(?!(?:{_LATEX})(?![A-Za-z]))n")


def check_marker(field: str, marker: object) -> None:
    """Refuse a marker that is null; most often it is a ``#`` that plain YAML took for the start of a comment.

    Raises:
        ValueError: If the marker is null.

    Example:
        >>> check_marker("answer_marker", "####")
    """
    if marker is None:
        raise GFTValueError(
            f'`{field}`: expected a text, got null; in YAML, quote a value that begins with #, as in {field}: "####" '
            "(an empty text means no marker)"
        )
    if isinstance(marker, str):
        warn_of_written_break(field, marker)


def warn_of_written_break(field: str, text: str) -> None:
    r"""Warn of a backslash and an n, which stand for a line break in double quotes alone.

    The text stays as it is, since the two may be meant; LaTeX's commands are not warned of.

    Example:
        >>> warn_of_written_break("system_prompt", r"Write $\nu \neq 0$.")
    """
    if _WRITTEN_BREAK.search(text):
        from lightning.pytorch.utilities import rank_zero_warn  # heavy, where pure functions import this

        rank_zero_warn(
            f"{field}={text!r} holds a backslash and an n, not a line break: for a line break write the text in double "
            f'quotes in YAML, {field}: "...\\n", and on a command line in both kinds, --...{field}=\'"...\\n"\''
        )
