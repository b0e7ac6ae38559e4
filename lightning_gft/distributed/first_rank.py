"""Actions of the first rank for all ranks, and what all ranks agree on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import distributed

from lightning_gft.errors import GFTRuntimeError
from lightning_gft.phases import phase

Outcome = TypeVar("Outcome")


def is_first_rank() -> bool:
    """Return whether this process is the first rank, or the only process."""
    return not has_several_ranks() or distributed.get_rank() == 0


def wait_for_ranks() -> None:
    """Wait until all ranks have called this."""
    if has_several_ranks():
        with phase("collective"):
            distributed.barrier()


def on_any_rank(value: bool) -> bool:
    """Return whether a value is true on any rank; all ranks call this together.

    Example:
        >>> on_any_rank(True)
        True
    """
    if not has_several_ranks():
        return value
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    with phase("collective"):
        distributed.all_reduce(count := torch.tensor(int(value), device=device))
        return bool(count)


def on_first_rank(action: Callable[[], Outcome]) -> Outcome:
    """Run an action on the first rank and return its result on all ranks, which call this together.

    Args:
        action: Function that only the first rank calls; its result must be picklable.

    Raises:
        RuntimeError: On the other ranks, if the action raises on the first.

    Example:
        >>> on_first_rank(lambda: 2)
        2
    """
    if not has_several_ranks():
        return action()
    told: list[Any] = [None, ""]
    failure: BaseException | None = None
    if distributed.get_rank() == 0:
        try:
            told[0] = action()
        except BaseException as error:  # noqa: BLE001 (raised below, after the broadcast)
            failure, told[1] = error, f"{type(error).__name__}: {error}"
    with phase("collective"):
        distributed.broadcast_object_list(told, src=0)
    if failure is not None:
        raise failure
    if told[1]:
        raise GFTRuntimeError(f"the first rank has failed: {told[1]}")
    outcome: Outcome = told[0]
    return outcome


def has_several_ranks() -> bool:
    """Return whether the run has several ranks."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
