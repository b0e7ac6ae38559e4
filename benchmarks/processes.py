"""Processes of this machine that train together, or side by side."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from multiprocessing import get_context
from types import TracebackType
from typing import Any, Self

import torch
import torch.distributed

from benchmarks.setting import Device

_PATIENCE = timedelta(minutes=5)


class Processes:
    """Fresh processes that wait for work. They import a function by its name, so it stands at the top of a module.

    Args:
        count: How many.
        device: Where they work; on CUDA each has a GPU of its own.
    """

    def __init__(self, count: int, device: Device) -> None:
        self.device = device
        spawn = get_context("spawn")
        self._pools = [ProcessPoolExecutor(1, spawn, _begin, (rank, count, device)) for rank in range(count)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for pool in self._pools:
            pool.shutdown(cancel_futures=True)

    def run(self, function: Callable[..., Any], parts: Sequence[Any], together: bool) -> list[Any]:
        """Return what the first processes make of their parts, all at the same time.

        Args:
            function: Called with a part.
            parts: One a process; those without a part do nothing.
            together: Whether they form a process group.
        """
        group = (_free_port(), len(parts), self.device) if together else None
        calls = [
            pool.submit(_run, function, part, group, rank)
            for rank, (pool, part) in enumerate(zip(self._pools, parts, strict=False))
        ]
        return [call.result() for call in calls]


def _begin(rank: int, count: int, device: Device) -> None:
    torch.set_num_threads(1)
    if device == "cuda":
        torch.cuda.set_device(rank)
    # What torchrun would say, so that Lightning starts no processes of its own.
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "NODE_RANK": 0}
    os.environ.update({name: str(value) for name, value in names.items()}, MASTER_ADDR="127.0.0.1")
    if device == "cpu":
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"


def _run(function: Callable[..., Any], part: Any, group: tuple[int, int, Device] | None, rank: int) -> Any:
    if group is None:  # metrics would talk to one another if there were a group
        return function(part)
    port, size, device = group
    os.environ["MASTER_PORT"] = str(port)
    torch.distributed.init_process_group(
        "nccl" if device == "cuda" else "gloo", rank=rank, world_size=size, timeout=_PATIENCE
    )
    try:
        return function(part)
    finally:
        torch.distributed.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
