"""Checks of options that several parts share."""

from __future__ import annotations

import re
from numbers import Integral

from lightning.pytorch.utilities import rank_zero_warn

_LATEX = "nabla|natural|ne|neg|neq|newline|ngeq|ni|nleq|nmid|noindent|nolimits|nonumber|not|notin|nu|null"
_WRITTEN_BREAK = re.compile(rf"\\(?!(?:{_LATEX})(?![A-Za-z]))n")


def check_count(field: str, count: object, least: int = 1, otherwise: str = "") -> None:
    """Refuse what is not a whole number, or is too small.

    Args:
        field: Name of the option.
        count: Its value.
        least: Smallest value that it may have.
        otherwise: What else it may be, as errors put it.

    Raises:
        TypeError: If it is not a whole number.
        ValueError: If it is too small.

    Example:
        >>> check_count("batch_size", 8)
    """
    if not isinstance(count, Integral) or isinstance(count, bool):
        raise TypeError(f"{field}={count!r} must be a whole number{otherwise}")
    if int(count) < least:
        raise ValueError(f"{field}={count} must be at least {least}{otherwise}")


def check_kind(field: str, value: object, kind: type, example: str) -> None:
    """Refuse a part of another kind, which would fail somewhere else and later.

    Args:
        field: Name of the part.
        value: What was given.
        kind: What it must be.
        example: One that would do.

    Raises:
        TypeError: If it is something else.

    Example:
        >>> check_kind("batch_size", 8, int, "8")
    """
    if not isinstance(value, kind):
        raise TypeError(f"{field} must be a {kind.__name__}, such as {example}, not {value!r}")


def check_marker(field: str, marker: object) -> None:
    """Refuse a marker that is no text; most often it is a ``#`` that plain YAML took for the start of a comment.

    Args:
        field: Name of the option.
        marker: Its value.

    Raises:
        ValueError: If the marker is null.

    Example:
        >>> check_marker("answer_marker", "####")
    """
    if marker is None:
        raise ValueError(
            f'{field} is null: in YAML, quote a value that begins with #, as in {field}: "####"; an empty text means '
            "no marker"
        )
    if isinstance(marker, str):
        warn_of_written_break(field, marker)


def warn_of_written_break(field: str, text: str) -> None:
    r"""Warn of a backslash and an n, which stand for a line break in double quotes alone.

    The text stays as it is, since the two may be meant; LaTeX's commands are not warned of.

    Args:
        field: Name of the option.
        text: Its value.

    Example:
        >>> warn_of_written_break("system_prompt", r"Write $\nu \neq 0$.")
    """
    if _WRITTEN_BREAK.search(text):
        rank_zero_warn(
            f"{field}={text!r} holds a backslash and an n, not a line break: for a line break write the text in double "
            f'quotes in YAML, {field}: "...\\n", and on a command line in both kinds, --...{field}=\'"...\\n"\''
        )
