"""One line for what the user can put right, a traceback for what nobody expected."""

from __future__ import annotations

import dis
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lightning.fabric.utilities.exceptions import MisconfigurationException

from lightning_gft.cli.parsing import explain

TRACEBACK_VARIABLE = "LIGHTNING_GFT_TRACEBACK"
"""Environment variable that asks for the traceback of every error."""

_FOR_USERS = (ValueError, TypeError, RuntimeError, ImportError, OSError, MisconfigurationException)
_CHECKED_BY = ("lightning_gft", "lightning", "jsonargparse", "torch.optim", "bitsandbytes.optim")
"""Packages that raise such errors on purpose, with a message for whoever wrote the configuration."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Within this context an error that was raised on purpose ends the program with its message alone.

    Any other comes with its traceback, and so does every one if ``LIGHTNING_GFT_TRACEBACK`` is set.
    """
    try:
        yield
    except _FOR_USERS as error:
        package = _raised_by(error)
        if os.environ.get(TRACEBACK_VARIABLE) or package is None:
            raise
        message = explain(str(error)) if package == "jsonargparse" else str(error)
        sys.stderr.write(f"error: {message}\n({TRACEBACK_VARIABLE}=1 shows where it was raised)\n")
        sys.exit(1)


def _raised_by(error: BaseException) -> str | None:
    """Return which of the packages above raised an error on purpose, ``None`` for all others."""
    innermost = error.__traceback__
    while innermost is not None and innermost.tb_next is not None:
        innermost = innermost.tb_next
    assert innermost is not None  # noqa: S101 (it was raised)
    frame = innermost.tb_frame
    if dis.opname[frame.f_code.co_code[innermost.tb_lasti]] != "RAISE_VARARGS":
        return None  # no `raise` statement: a mistake in the code
    module = frame.f_globals.get("__name__", "")
    return next((p for p in _CHECKED_BY if module == p or module.startswith(f"{p}.")), None)
