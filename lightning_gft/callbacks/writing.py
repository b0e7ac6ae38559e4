"""What becomes of a callback's files where they cannot be written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lightning.pytorch.utilities import rank_zero_warn


@contextmanager
def giving_up(what: str, give_up: Callable[[], None]) -> Iterator[None]:
    """Within this context files are written; a disk that fails ends the writing with a warning, and never the run.

    Args:
        what: Says of what there is no more, as the beginning of the warning.
        give_up: Sees to it that nothing more is written.
    """
    try:
        yield
    except OSError as error:
        give_up()
        rank_zero_warn(f"{what}: {error}")
