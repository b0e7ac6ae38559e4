"""Shows mistakes of the user in one line, and all other errors with their traceback."""

from __future__ import annotations

import errno
import os
import re
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as distributed
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch.distributed.elastic.multiprocessing.errors import get_error_handler

from lightning_gft.checks import cut
from lightning_gft.cli.components import unnamed_component_of
from lightning_gft.cli.explaining import explain
from lightning_gft.cli.light import PROG
from lightning_gft.cli.processes import this_process
from lightning_gft.cli.reporting import hint_for, raised_by, show, shows_traceback, status_of
from lightning_gft.errors import GFTError

_CONFIGURED = ("lightning", "jsonargparse")
"""Packages whose own value errors concern the configuration."""

_PATH_ERRNOS = {
    *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT),
    *(errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EFBIG, errno.ELOOP),
}
"""Error numbers of the operating system about a path, which point to no mistake in the code."""
_LONGEST = 4000
"""Characters of an error's message to show: some errors include the data that they are about."""

_MEMORY = (
    "Lower model.micro_batch_tokens if training ran out of memory, or max_batch_size of the policy's rollout if "
    "sampling did."
)
_RENDEZVOUS_ERRORS = (distributed.DistNetworkError, distributed.DistStoreError)
_RENDEZVOUS = (
    "Start all of them with the same MASTER_ADDR and MASTER_PORT: the machine of rank 0, and a free port on it."
)
_FIRST = "If another rank has reported an error, that is the reason; otherwise"
_TIMED_OUT = f"{_FIRST} one of them hangs, or takes longer for its share than the strategy's timeout."
_RANK_ENDED = f"{_FIRST} one of them was killed, for example because the machine ran out of memory."
_FROM_GLOO = re.compile(r"\[[^]]*/gloo/[^]]*\] (.*?)(?: This is typically .*)?", re.DOTALL)
_FROM_NCCL = re.compile(
    r"remote process exit|ncclRemoteError|communicator was aborted|collective operation timeout|before timing out"
)
_HEAD_START = 1.1
"""Seconds by which the first error precedes the others in torchrun's summary, which counts whole seconds."""


@contextmanager
def one_line_warnings() -> Iterator[None]:
    """Context in which warnings are shown as errors are: without the line of code that raised them.

    ``LIGHTNING_GFT_TRACEBACK`` shows that line.
    """
    before = warnings.formatwarning
    if not shows_traceback():
        warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        yield
    finally:
        warnings.formatwarning = before


@contextmanager
def one_line_errors(program: str = PROG) -> Iterator[None]:
    """Context in which an error that the user can correct ends the program with only its message.

    Any other error is raised. With ``LIGHTNING_GFT_TRACEBACK`` the traceback precedes the message. If the run
    has several ranks, the line names this one, and says whether another rank's error may be the reason. A process that
    torchrun has started also records its error for torchrun's summary.

    Args:
        program: Program and command, for the hint.
    """
    try:
        yield
    except Exception as error:
        lost = _lost(error)
        message = lost or _message(error)
        if message is None:
            _record(error)
            raise
        process = this_process()
        shown = f"{process and f'{process}: '}{cut(message, _LONGEST)}"
        show(error, shown, "" if lost else hint_for(error, program))
        if lost and "TORCHELASTIC_ERROR_FILE" in os.environ:
            time.sleep(_HEAD_START)
        error.__cause__, error.__suppress_context__ = None, True
        _record(error.with_traceback(None))
        sys.exit(status_of(error))


def _record(error: Exception) -> None:
    """Record an error for torchrun, if it started this process."""
    get_error_handler().record_exception(error)


def _lost(error: Exception) -> str | None:
    """Return the message of an error that another rank's failure has caused, or ``None`` for any other error."""
    if not isinstance(error, RuntimeError):
        return None
    text = str(error)
    if match := _FROM_GLOO.fullmatch(text):
        text = match[1]
    elif not (
        (isinstance(error, distributed.DistBackendError) and _FROM_NCCL.search(text))
        or (isinstance(error, _RENDEZVOUS_ERRORS) and distributed.is_initialized())
    ):
        return None
    what = text.strip().splitlines()[0].rstrip(".")
    if re.search("tim(ed|ing) ?out|timeout", text, re.IGNORECASE):
        return f"another rank did not answer in time ({what}). {_TIMED_OUT}"
    return f"another rank is gone ({what}). {_RANK_ENDED}"


def _message(error: Exception) -> str | None:
    """Return the message that replaces an error's traceback, or ``None`` if the code may be at fault."""
    message, component = _own_message(error), unnamed_component_of(error)
    return f"{component}: {message}" if message and component else message


def _own_message(error: Exception) -> str | None:
    if isinstance(error, torch.OutOfMemoryError):
        return f"{str(error).rstrip()} {_MEMORY}"
    if isinstance(error, _RENDEZVOUS_ERRORS):
        return f"the ranks of this run have not met: {str(error).splitlines()[0].rstrip('.')}. {_RENDEZVOUS}"
    if isinstance(error, GFTError | MisconfigurationException):
        return str(error)
    if isinstance(error, OSError) and error.errno in _PATH_ERRNOS:
        return f"{error.filename or 'a file of this run'}: {error.strerror}"
    if isinstance(error, OSError) and error.errno is None:  # raised by Python code, not by the operating system
        return str(error) or None
    if isinstance(error, ValueError | ImportError) and raised_by(error) in _CONFIGURED:
        return explain(str(error))
    return None
