"""Run a function in two real processes that talk over gloo on the loopback interface."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import socket
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed
import torch.multiprocessing
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

WORLD_SIZE = 2


def run_two_processes(function: Callable[..., Any], *args: Any, limit: float = 120.0) -> list[Any]:
    """Return what ``function(rank, *args)`` returned on ranks 0 and 1.

    The default process group is up when the function is called, and so are the environment variables that
    ``torchrun`` would set. The processes import the function by its name, so it must stand at the top of a module.
    Importing takes a few seconds: let one call do several things.

    Args:
        function: Called on each rank; what it returns must pickle.
        args: Passed on, pickled.
        limit: Seconds after which both processes are killed.

    Raises:
        TimeoutError: If the processes are not done in time, with a traceback of where each one stood.
        RuntimeError: If one raises or dies, with the tracebacks of all that raised, the first to do so first.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        deadline = time.monotonic() + limit
        context = torch.multiprocessing.start_processes(
            _run,
            args=(function, args, folder, free_port(), limit),
            nprocs=WORLD_SIZE,
            join=False,
            start_method="spawn",
        )
        try:
            while not context.join(timeout=max(0.0, deadline - time.monotonic())):
                if time.monotonic() >= deadline:
                    raise TimeoutError(
                        f"{function.__qualname__} was not done on both ranks after {limit:.0f} s\n"
                        + _where_they_stand(context.processes, folder)
                    )
        except (ProcessRaisedException, ProcessExitedException) as error:
            # The other rank loses its connection then, and may be the one that is noticed first.
            raise RuntimeError(f"{function.__qualname__} failed\n{_what_was_raised(folder) or error}") from None
        finally:
            for process in context.processes:
                if process.is_alive():
                    process.kill()
                process.join()
        return [torch.load(folder / f"{rank}.result", weights_only=False) for rank in range(WORLD_SIZE)]


def _run(rank: int, function: Callable[..., Any], args: tuple[Any, ...], folder: Path, port: int, limit: float) -> None:
    stacks = (folder / f"{rank}.stack").open("w")
    faulthandler.register(signal.SIGUSR1, file=stacks, all_threads=True)
    os.environ.update(
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(WORLD_SIZE),
        LOCAL_WORLD_SIZE=str(WORLD_SIZE),
        GLOO_SOCKET_IFNAME="lo",
    )
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'rendezvous'}",
        rank=rank,
        world_size=WORLD_SIZE,
        timeout=timedelta(seconds=limit),
    )
    try:
        torch.save(function(rank, *args), folder / f"{rank}.result")
    except BaseException:
        (folder / f"{time.monotonic_ns()}.error").write_text(f"rank {rank}:\n{traceback.format_exc()}")
        raise
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _what_was_raised(folder: Path) -> str:
    return "\n".join(path.read_text() for path in sorted(folder.glob("*.error"), key=lambda path: int(path.stem)))


def _where_they_stand(processes: list[Any], folder: Path) -> str:
    alive = [process for process in processes if process.is_alive()]
    for process in alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGUSR1)
    time.sleep(1.0)
    stacks = ((rank, folder / f"{rank}.stack") for rank in range(WORLD_SIZE))
    return "\n".join(
        f"rank {rank} ({'running' if processes[rank] in alive else 'done'}):\n"
        + (path.read_text() if path.exists() else "not started")
        for rank, path in stacks
    )


def free_port() -> int:
    """Return a port of the loopback interface that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
