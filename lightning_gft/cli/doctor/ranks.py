"""Collectives between ranks, by gloo and NCCL; runs in a subprocess."""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as distributed

from lightning_gft.cli.doctor.finding import Finding, tried
from lightning_gft.errors import GFTRuntimeError

_SECONDS = 60.0


def check_ranks() -> Iterator[Finding]:
    """Yield whether two ranks on this machine add a tensor by gloo, and whether NCCL runs on a GPU."""
    yield tried("gloo", _gloo, "set GLOO_SOCKET_IFNAME to a network interface, such as lo; one rank works without it")
    yield tried("nccl", _nccl, "use one GPU, or ranks on CPUs, which use gloo")


def _gloo() -> str:
    if not (distributed.is_available() and distributed.is_gloo_available()):
        raise GFTRuntimeError("torch is built without it")
    if sys.platform == "win32":
        raise GFTRuntimeError("not tried on Windows")
    context = multiprocessing.get_context("fork")  # no GPU is in use yet, and nothing is imported again
    with tempfile.TemporaryDirectory() as folder:
        ranks = [context.Process(target=_add, args=(str(Path(folder) / "store"), rank)) for rank in range(2)]
        for each in ranks:
            each.start()
        for each in ranks:
            each.join(_SECONDS)
        codes = [each.exitcode for each in ranks]
        for each in ranks:
            each.kill()
    if codes != [0, 0]:
        raise GFTRuntimeError(f"two ranks on this machine did not meet (exit status {codes[0]} and {codes[1]})")
    return "two ranks on this machine have added a tensor"


def _add(store: str, rank: int) -> None:
    """Add the tensors of two ranks, as the target of a process: exit status 0 if the sum is right."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the exit status reports the failure
    timeout = timedelta(seconds=_SECONDS / 2)
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2, timeout=timeout)
    total = torch.ones(4)
    distributed.all_reduce(total)
    distributed.destroy_process_group()
    sys.exit(0 if total.tolist() == [2.0] * 4 else 1)


def _nccl() -> str:
    if not (distributed.is_available() and distributed.is_nccl_available()):
        raise GFTRuntimeError("torch is built without it")
    if not torch.cuda.is_available():
        raise GFTRuntimeError("there is no GPU")
    with tempfile.TemporaryDirectory() as folder:
        store = f"file://{folder}/store"
        distributed.init_process_group("nccl", store, timedelta(seconds=_SECONDS), world_size=1, rank=0)
        total = torch.ones(4, device="cuda")
        distributed.all_reduce(total)
        torch.cuda.synchronize()
        distributed.destroy_process_group()
    version = torch.cuda.nccl.version()
    return f"{'.'.join(map(str, version))}, one rank; {torch.cuda.device_count()} GPUs"
