"""Reports an error of the command line: a hint, then the error as the last line, and the exit status."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from lightning_gft.errors import GFTError, GFTUsageError

TRACEBACK_VARIABLE = "LIGHTNING_GFT_TRACEBACK"
"""Environment variable that shows the traceback of every error, and the line of code that raised a warning."""

FAILURE, USAGE = 1, 2
"""Exit statuses of errors; docs/resuming.md explains them."""


def number_of_ranks() -> int:
    """Return how many ranks the launcher of this process has started, or is about to start."""
    number = os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_NTASKS") or "1"
    return int(number) if number.isdecimal() else 1


def shows_traceback() -> bool:
    """Return whether errors are to be shown with their traceback."""
    return bool(os.environ.get(TRACEBACK_VARIABLE))


def report(message: str, hint: str = "") -> None:
    """Write an error to standard error, below its hint: logs and CI show the last line first.

    Both are written at once, so that the lines of several ranks do not mix.

    Args:
        message: Text of the error.
        hint: Where to learn more.
    """
    sys.stderr.write("\n".join([*filter(None, [hint]), f"error: {message}", ""]))


def see_help(program: str) -> str:
    """Return the hint of an error in the arguments of a program.

    Example:
        >>> see_help("lightning-gft fit")
        'See: lightning-gft fit --help'
    """
    return f"See: {program} --help"


def status_of(error: BaseException) -> int:
    """Return the exit status of an error.

    Example:
        >>> status_of(GFTUsageError("`COMMAND`: expected a command")), status_of(OSError("no space left"))
        (2, 1)
    """
    return USAGE if isinstance(error, GFTUsageError) else FAILURE


def hint_for(error: BaseException, program: str) -> str:
    """Return the hint of an error.

    Args:
        error: The error.
        program: Program and command that it ends.

    Example:
        >>> hint_for(GFTUsageError("`data`: expected a setting"), "lightning-gft fit")
        'See: lightning-gft fit --help'
    """
    if isinstance(error, GFTUsageError):
        return see_help(program)
    return "" if shows_traceback() else f"({TRACEBACK_VARIABLE}=1 shows where it was raised)"


def raised_by(error: BaseException) -> str:
    """Return the package of the innermost function in the traceback of an error that was raised.

    Example:
        >>> try:
        ...     traceback.walk_tb(1, 2)
        ... except TypeError as error:
        ...     raised_by(error)
        'lightning_gft'
    """
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


@contextmanager
def usage_errors(*kinds: type[Exception]) -> Iterator[None]:
    """Context in which errors of some kinds are mistakes in the arguments: no part of a run is built yet.

    Raises:
        GFTUsageError: In place of an error of one of these kinds.

    Example:
        >>> with usage_errors(FileNotFoundError):
        ...     raise FileNotFoundError("`ckpt_path`: expected a checkpoint that exists")
        Traceback (most recent call last):
        lightning_gft.errors.GFTUsageError: `ckpt_path`: expected a checkpoint that exists
    """
    try:
        yield
    except kinds as error:
        raise GFTUsageError(str(error)) from error


@contextmanager
def one_line_mistakes(program: str) -> Iterator[None]:
    """Context in which an error of this package ends the program with its message; it needs neither torch nor ranks.

    Args:
        program: Program and command, for the hint.
    """
    try:
        yield
    except GFTError as error:
        show(error, str(error), hint_for(error, program))
        sys.exit(status_of(error))


def show(error: Exception, message: str, hint: str) -> None:
    """Show an error that ends the program: its traceback if that is asked for, then the hint and the message.

    Args:
        error: The error.
        message: Text of the error.
        hint: Where to learn more.
    """
    if shows_traceback():
        traceback.print_exception(error)
    report(message, hint)
