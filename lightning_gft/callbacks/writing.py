"""Handles a callback's files that cannot be written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lightning.pytorch.utilities import rank_zero_warn


@contextmanager
def giving_up(what: str, give_up: Callable[[], None]) -> Iterator[None]:
    """Context for writing files: a failing disk ends the writing with a warning, but never the run.

    Args:
        what: What ends, as the beginning of the warning.
        give_up: Called after the failure; must disable further writing.
    """
    try:
        yield
    except OSError as error:
        give_up()
        rank_zero_warn(f"{what}: {error}")
