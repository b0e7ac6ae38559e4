"""A time limit for code that comes with a model."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from threading import Thread
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class OutOfTimeError(Exception):
    """An item took longer than the limit."""

    def __init__(self, index: int) -> None:
        super().__init__(f"item {index} took too long")
        self.index = index


class _StopWorker(BaseException):
    """Raised within the worker; no ``except Exception`` of a template catches it."""


def map_within(function: Callable[[Item], Result], items: Sequence[Item], seconds: float) -> list[Result]:
    """Return the function's value for each item, and raise ``OutOfTimeError`` if an item takes too long.

    The work runs in a thread, because a signal would reach only the main thread. A loop in Python is stopped; a single
    call into C that never returns keeps its thread, which ends with the process.

    Example:
        >>> map_within(abs, [-1, 2], seconds=10)
        [1, 2]
    """
    results: list[Result] = []
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for item in items:
                results.append(function(item))
        except BaseException as error:  # noqa: BLE001 (raised again below)
            failures.append(error)

    worker = Thread(target=work, daemon=True)
    worker.start()
    try:
        while worker.is_alive():
            done = len(results)
            worker.join(seconds)
            if worker.is_alive() and len(results) == done:
                raise OutOfTimeError(done)
    finally:
        _stop(worker)  # still alive if out of time, or on Ctrl-C
    if failures:
        raise failures[0]
    return results


def _stop(worker: Thread) -> None:
    if worker.is_alive() and worker.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(worker.ident), ctypes.py_object(_StopWorker))
        worker.join(1)
