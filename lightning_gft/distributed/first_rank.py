"""What the first rank does for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch import distributed

from lightning_gft.errors import GFTRuntimeError
from lightning_gft.phases import phase

Outcome = TypeVar("Outcome")


def is_first_rank() -> bool:
    """Tell whether this process is the first of those that train together, or the only one."""
    return not _are_several() or distributed.get_rank() == 0


def on_first_rank(action: Callable[[], Outcome]) -> Outcome:
    """Return on every rank what an action returns on the first one; all ranks call it together.

    Args:
        action: Runs on the first rank alone; what it returns can be pickled.

    Raises:
        RuntimeError: On the other ranks, if it raises on the first.

    Example:
        >>> on_first_rank(lambda: 2)
        2
    """
    if not _are_several():
        return action()
    told: list[Any] = [None, ""]
    failure: BaseException | None = None
    if distributed.get_rank() == 0:
        try:
            told[0] = action()
        except BaseException as error:  # noqa: BLE001 (raised below, when the others know)
            failure, told[1] = error, f"{type(error).__name__}: {error}"
    with phase("collective"):
        distributed.broadcast_object_list(told, src=0)
    if failure is not None:
        raise failure
    if told[1]:
        raise GFTRuntimeError(f"the first rank has failed: {told[1]}")
    outcome: Outcome = told[0]
    return outcome


def _are_several() -> bool:
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
