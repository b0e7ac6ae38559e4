"""Run functions in two real processes, the ranks, that talk over gloo on the loopback interface."""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import io
import os
import pickle
import signal
import socket
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed
from lightning.pytorch.utilities import rank_zero_only

from tests.forking import HANG, forking

WORLD_SIZE = 2
OUTERMOST = 'File "<string>", line 1 in <module>'
"""The call that starts a rank."""


def run_two_processes(function: Callable[..., Any], *args: Any, limit: float = HANG) -> list[Any]:
    """Return what ``function(rank, *args)`` returned on ranks 0 and 1.

    The default process group is up when the function is called, and so are the environment variables that
    ``torchrun`` would set. The ranks import the function by its name, so it must stand at the top of a module. They
    outlive the call, since importing what it needs takes time, and end with the tests or when a function fails or
    destroys the process group.

    Args:
        function: Called on each rank; what it returns must pickle.
        args: Passed on, pickled.
        limit: Seconds after which both ranks are killed, without those for starting them.

    Raises:
        TimeoutError: If the ranks are not done in time, with a traceback of where each one stood.
        RuntimeError: If one raises or dies, with the tracebacks of all that raised, the first to do so first.
    """
    ranks = _Ranks.started()
    try:
        return ranks.call(function, args, limit)
    except BaseException:
        ranks.end()
        raise


class _Ranks:
    """Two processes that call one function after another."""

    _last: _Ranks | None = None

    @classmethod
    def started(cls) -> _Ranks:
        if cls._last is None or not all(process.is_alive() for process in cls._last.processes):
            if cls._last is not None:
                cls._last.end()
            cls._last = cls()
        return cls._last

    def __init__(self) -> None:
        self.folder = TemporaryDirectory()
        context, port = forking(), free_port()
        self.channels: list[Connection] = []
        self.processes = []
        for rank in range(WORLD_SIZE):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(rank, theirs, Path(self.folder.name), port))
            process.start()
            theirs.close()
            self.channels.append(ours)
            self.processes.append(process)
        atexit.register(self.end)
        self._answers("starting", HANG)

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], limit: float) -> list[Any]:
        for channel in self.channels:
            channel.send_bytes(pickle.dumps((function, args)))
        answers = self._answers(function.__qualname__, limit)
        results = [torch.load(io.BytesIO(answer), weights_only=False) for answer, _ in answers]
        if not all(lives for _, lives in answers):
            self.end()
        return results

    def _answers(self, what: str, limit: float) -> list[Any]:
        """Wait until each rank has answered; the first that fails ends the wait."""
        answers: dict[int, Any] = {}
        deadline = time.monotonic() + limit
        while len(answers) < WORLD_SIZE:
            missing = [rank for rank in range(WORLD_SIZE) if rank not in answers]
            sources = {self.channels[rank]: rank for rank in missing}
            ready = wait(sources, timeout=max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError(f"{what} was not done on both ranks after {limit:.0f} s\n{self._stacks()}")
            failed = []
            for channel in ready:
                rank = sources[channel]
                try:
                    failure, answers[rank] = channel.recv()
                except EOFError:
                    self.processes[rank].join()
                    failure = time.monotonic(), f"rank {rank} ended with exit code {self.processes[rank].exitcode}"
                failed += [failure] if failure else []
            if failed:
                raise RuntimeError(f"{what} failed\n" + "\n".join(text for _, text in sorted(failed)))
        return [answers[rank] for rank in range(WORLD_SIZE)]

    def _stacks(self) -> str:
        """Return where the ranks stand."""
        told = []
        for rank, process in enumerate(self.processes):
            path = Path(self.folder.name) / f"{rank}.stack"
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGUSR1)
            deadline = time.monotonic() + 60
            # The outermost call comes last, but for very deep stacks.
            while process.is_alive() and OUTERMOST not in path.read_text() and time.monotonic() < deadline:
                time.sleep(0.05)
            told.append(f"rank {rank} ({'running' if process.is_alive() else 'done'}):\n{path.read_text()}")
        return "\n".join(told)

    def end(self) -> None:
        atexit.unregister(self.end)
        for process in self.processes:
            process.kill()
            process.join()
        for channel in self.channels:
            channel.close()
        self.folder.cleanup()
        _Ranks._last = None if _Ranks._last is self else _Ranks._last


def _serve(rank: int, channel: Connection, folder: Path, port: int) -> None:
    with (folder / f"{rank}.stack").open("w") as stacks:
        faulthandler.register(signal.SIGUSR1, file=stacks, all_threads=True)
        _join_group(rank, folder, port)
        channel.send((None, None))
        with contextlib.suppress(EOFError):  # the tests have ended
            while torch.distributed.is_initialized():
                channel.send(_answer(rank, channel.recv_bytes()))


def _answer(rank: int, request: bytes) -> tuple[tuple[float, str] | None, tuple[bytes, bool] | None]:
    """Return when and how a function failed, or what it returned and whether this rank can call another."""
    try:
        function, args = pickle.loads(request)  # noqa: S301 (the tests' own)
        result = io.BytesIO()
        torch.save(function(rank, *args), result)
    except BaseException:  # noqa: BLE001 (whatever it is, the tests show it)
        # The group stays, so that the other rank does not fail for want of this one before the cause is known.
        return (time.monotonic(), f"rank {rank}:\n{traceback.format_exc()}"), None
    return None, (result.getvalue(), torch.distributed.is_initialized())


def _join_group(rank: int, folder: Path, port: int) -> None:
    os.environ.pop("LIGHTNING_GFT_LAUNCHER", None)  # the tests' process, which is not the parent of a rank
    os.environ.update(
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(WORLD_SIZE),
        LOCAL_WORLD_SIZE=str(WORLD_SIZE),
        GLOO_SOCKET_IFNAME="lo",
    )
    rank_zero_only.rank = rank  # type: ignore[attr-defined]  # which Lightning reads from RANK when it is imported
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'rendezvous'}",
        rank=rank,
        world_size=WORLD_SIZE,
        timeout=timedelta(seconds=2 * HANG),
    )


def free_port() -> int:
    """Return a port of the loopback interface that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
