"""What one of several processes does of a training, and how they are started."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
import torch.distributed
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.distributed.tensor import DTensor

from benchmarks import ours
from benchmarks.harness import MIB, StepLog
from benchmarks.job import Job
from benchmarks.memory import MemoryLog
from benchmarks.traffic import CountTraffic
from lightning_gft import FSDP2Strategy

WORLD = 2
_STRATEGIES: dict[str | None, Callable[[], Any]] = {
    None: lambda: "auto",
    "ddp": lambda: "ddp",
    "fsdp2": FSDP2Strategy,
    "fsdp2, kept": lambda: FSDP2Strategy(reshard_after_forward=False),
}


@dataclass(frozen=True)
class Part:
    """What one process does of a training."""

    job: Job  # all of it
    strategy: str | None  # of `benchmarks.traffic.STRATEGIES`; a process without one knows of no other
    rank: int = 0
    world: int = WORLD  # among how many the prompts are dealt out


class Workers(ExitStack):
    """Two processes of one thread each that wait for work; on CUDA each has a GPU of its own."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self._pools = [
            self.enter_context(ProcessPoolExecutor(1, get_context("spawn"), _begin, (rank, device)))
            for rank in range(WORLD)
        ]

    def run(self, function: Callable[[Part], Any], parts: Sequence[Part]) -> list[Any]:
        """Return what the first processes make of their parts, all at the same time."""
        meeting = str(parts[0].job.workplace / uuid4().hex)
        calls = [pool.submit(_run, function, part, meeting) for pool, part in zip(self._pools, parts, strict=False)]
        return [call.result() for call in calls]


def time_steps(part: Part) -> list[float]:
    """Return the seconds of all steps."""
    log = StepLog(part.job.device)
    train(part, log)
    return [step["seconds"] for step in log.steps]


def observe(part: Part) -> dict[str, Any]:
    """Return the traffic of the last step; the first process writes by how much training changed the weights."""
    log = StepLog(part.job.device)
    watch = Watch(part.job, part.rank)
    train(part, log, watch)
    traffic = {"calls": dict(watch.traffic.calls), "bytes": dict(watch.traffic.bytes)}
    return {"micro_batches": log.steps[-1]["passes"], "sizes": watch.sizes, **traffic}


def weigh(part: Part) -> dict[str, float]:
    """Return the memory that this process takes: it has done nothing else before."""
    log, scale = MemoryLog(part.job.device), Scale()
    train(part, log, scale)
    measured = log.finish(len(part.job.batches[0]) * part.job.group_size)
    names = ("before_loading_mib", "loaded_mib", "peak_of_loading_mib", "peak_mib")
    return {**scale.held, **{name: measured[name] for name in names}}


def change_file(job: Job) -> Path:
    """Return where the changes of the weights are written."""
    return job.workplace / "change.pt"


def train(part: Part, log: StepLog, *callbacks: Callback) -> None:
    (rows,) = part.job.batches
    places = list(range(len(rows)))[part.rank :: part.world]
    job = replace(part.job, batches=[[rows[place] for place in places]])
    alone = [part.rank] if job.device == "cuda" else 1
    ours.train(
        job,
        log,
        *callbacks,
        # Packed bits that pretend to be of the other weights' type can be split and gathered with them.
        policy=ours.load(job, compute_dtype=job.dtype, storage_dtype=job.dtype),
        places=places,
        strategy=_STRATEGIES[part.strategy](),
        devices=alone if part.strategy is None else part.world,
    )


class Watch(Callback):
    """Counts the traffic of the last step and writes what training changed."""

    def __init__(self, job: Job, rank: int) -> None:
        self.traffic = CountTraffic()
        self.sizes: dict[str, int] = {}
        self._job, self._rank = job, rank
        self._before: dict[str, Tensor] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the weights before."""
        self._before = whole_weights(pl_module)
        self.sizes = sizes_of(pl_module.policy, self._job.autocast)

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        """Begin to count."""
        if trainer.global_step == self._job.steps - 1:  # the first makes what lasts: buckets, streams, Adam's averages
            self.traffic.__enter__()

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """End counting."""
        if trainer.global_step == self._job.steps:
            self.traffic.__exit__(None, None, None)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what has changed."""
        after = whole_weights(pl_module)
        if self._rank == 0:
            torch.save({name: after[name] - before for name, before in self._before.items()}, change_file(self._job))


class Scale(Callback):
    """Counts what this process holds after the last step."""

    def __init__(self) -> None:
        self.held: dict[str, float] = {}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count."""
        weights = list(pl_module.parameters())
        states = [value for state in trainer.optimizers[0].state.values() for value in state.values()]
        self.held = {
            "weights_mib": _mib(weights),
            "gradients_mib": _mib(weight.grad for weight in weights if weight.grad is not None),
            "optimizer_mib": _mib(value for value in states if isinstance(value, Tensor)),
        }


def whole_weights(module: torch.nn.Module) -> dict[str, Tensor]:
    """Return copies of all trained weights, gathered from their shards; all processes call it."""
    named = [(name, weight.detach()) for name, weight in module.named_parameters() if weight.requires_grad]
    return {
        name: (weight.full_tensor() if isinstance(weight, DTensor) else weight).cpu().clone() for name, weight in named
    }


def sizes_of(policy: Any, autocast: bool) -> dict[str, int]:
    """Return the fields of :class:`benchmarks.traffic.Sizes`: blocks are gathered in half precision under autocast."""

    def size(weights: Iterable[Tensor], half: bool) -> int:
        return sum(weight.numel() * (2 if half else weight.dtype.itemsize) for weight in weights)

    blocks = [list(block.parameters()) for block in policy.model.base_model.layers]
    inside = {weight for block in blocks for weight in block}
    root = size([weight for weight in policy.parameters() if weight not in inside], half=False)
    in_blocks = [size(block, half=autocast) for block in blocks]
    gradients = sum(4 * weight.numel() for weight in policy.parameters() if weight.requires_grad)
    return {"all": root + sum(in_blocks), "root": root, "block": in_blocks[-1], "gradients": gradients}


def _mib(tensors: Iterable[Tensor]) -> float:
    parts = (tensor.to_local() if isinstance(tensor, DTensor) else tensor for tensor in tensors)
    return round(sum(part.nbytes for part in parts) / MIB, 2)


def _begin(rank: int, device: str) -> None:
    torch.set_num_threads(1)
    if device == "cuda":
        torch.cuda.set_device(rank)
    # What torchrun would set, so that Lightning starts no processes of its own.
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": WORLD, "LOCAL_WORLD_SIZE": WORLD, "NODE_RANK": 0}
    os.environ.update({name: str(value) for name, value in names.items()}, MASTER_ADDR="127.0.0.1")
    if device == "cpu":
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"


def _run(function: Callable[[Part], Any], part: Part, meeting: str) -> Any:
    if part.strategy is None:  # metrics would talk to one another if there were a group
        return function(part)
    torch.distributed.init_process_group(
        "nccl" if part.job.device == "cuda" else "gloo",
        init_method=f"file://{meeting}",
        rank=part.rank,
        world_size=part.world,
        timeout=timedelta(minutes=5),
    )
    try:
        return function(part)
    finally:
        torch.distributed.destroy_process_group()
