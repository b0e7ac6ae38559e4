"""The processes of one run: each names its rank in messages, and ends soon after the others."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed
from lightning.pytorch.utilities import rank_zero_only

from lightning_gft.cli.reporting import number_of_ranks, report

_LAUNCHER = "LIGHTNING_GFT_LAUNCHER"
"""Environment variable that holds the process id of the launcher, which may not be the parent."""

_INTERVAL = 1.0
_GRACE = 5.0
"""Seconds for a process to notice the end of its launcher by itself, and to clean up."""


def this_process() -> str:
    """Return the rank and the host of this process, or an empty text if the run has only one."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        rank, number = torch.distributed.get_rank(), torch.distributed.get_world_size()
    else:
        rank = rank_zero_only.rank  # type: ignore[attr-defined]
        number = number_of_ranks()
    return f"rank {rank} of {number} on {socket.gethostname()}" if number > 1 else ""


def end_with_launcher() -> None:
    """End this process soon after the process that launched it as a part of the same run.

    Lightning's launcher ends its children when one of them fails, but not when it is killed itself. A child in a
    collective, or in a reward that does not return, would then run for ever and keep its GPU memory.
    """
    launcher = int(os.environ.get(_LAUNCHER, 0)) if "LOCAL_RANK" in os.environ else 0
    if torch.distributed.is_available() and torch.distributed.is_torchelastic_launched():
        launcher = os.getppid()
    os.environ[_LAUNCHER] = str(os.getpid())
    # An earlier run in this process leaves both variables behind, since Lightning sets LOCAL_RANK in rank 0 as well.
    if launcher not in (0, os.getpid()):
        threading.Thread(target=_wait_and_end, args=(launcher,), name="launcher-observer", daemon=True).start()


def _wait_and_end(launcher: int) -> None:
    while os.getppid() == launcher:
        time.sleep(_INTERVAL)
    time.sleep(_GRACE)
    report(f"{this_process() or 'this process'} ends, because its launcher is gone")
    sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGKILL)  # a gentler signal may be blocked by what it waits for


@contextmanager
def failing_alone() -> Iterator[None]:
    """Context in which a failure ends one of several processes at once, without waiting for the others.

    A regular exit closes the connections, for which NCCL waits for all processes. The other ranks would then notice
    the failure only after their timeout.
    """
    try:
        yield
    except BaseException as error:
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()) or _is_requested(error):
            raise
        if not isinstance(error, SystemExit):  # an exit has reported its error already
            sys.excepthook(type(error), error, error.__traceback__)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)


def _is_requested(error: BaseException) -> bool:
    """Return whether a process ends regularly, or on a signal that asked all of them to end."""
    return isinstance(error, SystemExit) and (not error.code or (isinstance(error.code, int) and error.code > 128))
