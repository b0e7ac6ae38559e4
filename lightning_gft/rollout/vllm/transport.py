"""Moving tensors from this process to those of a server, beside the calls that announce them."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future, wait
from threading import Thread
from typing import Any, TypeVar

import torch
from torch import Tensor

from lightning_gft.rollout.vllm.client import ServerFault
from lightning_gft.waiting import check_wait, ending_waits

Reply = TypeVar("Reply")

_POLL_SECONDS = 0.05
_END_SECONDS = 10.0
"""Time limit for a thread to leave an aborted transport; it is a daemon, so that the run can end without it."""


class TransportError(Exception):
    """Tensors cannot be moved to a server, for instance because it has ended."""


class Transport(ABC):
    """A group of this process, which sends tensors, and the processes of a server, which receive them in that order.

    One thread calls :meth:`join`, :meth:`broadcast` and :meth:`settle`; another one may call :meth:`abort` meanwhile.

    Attributes:
        device: Device that tensors are sent from.
    """

    device: torch.device

    @abstractmethod
    def invitation(self) -> dict[str, Any]:
        """Return what a server's processes need to find this one, as part of vLLM's ``init_info``."""

    @abstractmethod
    def join(self) -> None:
        """Wait until all processes of the server have joined.

        Raises:
            TransportError: If they do not, or if the transport was aborted.
        """

    @abstractmethod
    def broadcast(self, tensor: Tensor) -> None:
        """Send a contiguous tensor on :attr:`device`; it may arrive later.

        Raises:
            TransportError: As in :meth:`join`.
        """

    @abstractmethod
    def settle(self) -> None:
        """Wait until all tensors have arrived.

        Raises:
            TransportError: As in :meth:`join`.
        """

    @abstractmethod
    def abort(self) -> None:
        """Leave the group, also while another thread sends; repeated calls change nothing."""


def while_moving(transport: Transport, move: Callable[[], None], call: Callable[[], Reply], timeout: float) -> Reply:
    """Call a server while another thread moves tensors to it: each waits for the other, so a failure of one ends both.

    Args:
        transport: Transport that is aborted on a failure, and must not be used afterwards.
        move: Function that moves the tensors, in a thread of its own.
        call: Function that calls the server, and returns its reply once it has received the tensors.
        timeout: Time limit in seconds for ``move`` to return after ``call``.

    Raises:
        ServerFault: If the server fails, or the transport does.
    """
    moved: Future[None] = Future()

    def run() -> None:
        try:
            move()
        except BaseException as error:  # noqa: BLE001 (raised in the thread that waits)
            moved.set_exception(error)
        else:
            moved.set_result(None)

    def check() -> None:
        if moved.done():
            moved.result()

    thread = Thread(target=run, name="Transport", daemon=True)
    thread.start()
    try:
        with ending_waits(check):
            reply = call()
        deadline = time.monotonic() + timeout
        while not wait([moved], _POLL_SECONDS).done:
            check_wait()
            if time.monotonic() > deadline:
                raise ServerFault(f"tensors that have not arrived within timeout={timeout:g} s", "late")
        moved.result()
    except BaseException as error:
        transport.abort()
        thread.join(_END_SECONDS)
        if isinstance(error, TransportError):
            raise ServerFault(str(error), "failed") from None
        raise
    thread.join()
    return reply
