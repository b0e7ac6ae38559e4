"""Checks texts that YAML may have read differently than intended."""

from __future__ import annotations

import re

from lightning_gft.errors import GFTValueError

_LATEX = "nabla|natural|ne|neg|neq|newline|ngeq|ni|nleq|nmid|noindent|nolimits|nonumber|not|notin|nu|null"
_WRITTEN_BREAK = re.compile(rf"\\(?!(?:{_LATEX})(?![A-Za-z]))n")


def check_marker(field: str, marker: object) -> None:
    """Raise an error for a marker that is null, usually a ``#`` that YAML has read as the start of a comment.

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
    r"""Warn of a backslash followed by an n, which means a line break only within double quotes.

    The text stays unchanged, since both characters may be intended. Commands of LaTeX cause no warning.

    Example:
        >>> warn_of_written_break("system_prompt", r"Write $\nu \neq 0$.")
    """
    if _WRITTEN_BREAK.search(text):
        from lightning.pytorch.utilities import rank_zero_warn  # slow to import, and pure functions import this module

        rank_zero_warn(
            f"{field}={text!r} holds a backslash and an n, not a line break; for a line break write the text in double "
            f'quotes in YAML, {field}: "...\\n", and on a command line in both kinds, --...{field}=\'"...\\n"\''
        )
