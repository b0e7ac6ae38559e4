"""What one process does in a measurement of several."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import Strategy
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from benchmarks.canned_ours import batch_of, make_module
from benchmarks.lightning_side import NoteSteps, fit
from benchmarks.meter import MIB, Meter
from benchmarks.setting import Method
from benchmarks.steps import StepLog
from benchmarks.traffic import CountTraffic, Sizes, Traffic
from benchmarks.work import Job
from lightning_gft import FSDP2Strategy, LoRA, PretrainedPolicy, SelfSource
from lightning_gft.distributed.sharding import transformer_blocks
from lightning_gft.policy.quantization import Quantization

STRATEGIES: dict[str, Callable[[], str | Strategy]] = {
    "ddp": lambda: "ddp",
    "fsdp2": FSDP2Strategy,
    "fsdp2, kept": lambda: FSDP2Strategy(reshard_after_forward=False),
}
"""By the names that the record shows."""


@dataclass(frozen=True)
class Variant:
    """What is varied of a training.

    Args:
        strategy: One of :data:`STRATEGIES`; ``None`` for a process alone.
        rollouts: Whether the policy draws responses of the same length itself.
        micro_batches: Of a step, on each of two processes.
        autocast: Whether products are taken in bfloat16 (bf16-mixed).
        method: All weights, adapters, or adapters on 4-bit weights.
    """

    strategy: str | None
    rollouts: bool = False
    micro_batches: int = 1
    autocast: bool = False
    method: Method = "full"


@dataclass(frozen=True)
class Part:
    """What one process does of a training.

    Args:
        job: All of it.
        variant: How.
        rank: Number of the process.
        processes: Among how many the prompts are dealt out.
    """

    job: Job
    variant: Variant
    rank: int = 0
    processes: int = 1


def time_steps(part: Part) -> list[float]:
    """Return the seconds of all steps.

    Args:
        part: Of this process.
    """
    log = StepLog(part.job.setting.device)
    train(part, NoteSteps(log))
    return log.seconds


@dataclass
class Observed:
    """What was seen of a training.

    Args:
        traffic: Of the last step.
        sizes: Of the model.
        micro_batches: Of the last step.
    """

    traffic: Traffic = field(default_factory=Traffic)
    sizes: Sizes | None = None
    micro_batches: int = 0


def observe(part: Part) -> Observed:
    """Count the traffic of the last step, and let the first process write by how much training changed the weights.

    Args:
        part: Of this process.
    """
    watch = Watch(part.job.steps, change_file(part.job) if part.rank == 0 else None)
    train(part, watch)
    return watch.observed


def change_file(job: Job) -> Path:
    """Return where the changes of the weights are written.

    Args:
        job: The training.
    """
    return job.workplace / "change.pt"


def weigh(part: Part) -> dict[str, Any]:
    """Return the memory that this process takes: it has done nothing else before.

    Args:
        part: Of this process.
    """
    meter = Meter(part.job.setting.device)
    scale = Scale(meter)
    train(part, scale)
    return {**meter.finish(), **scale.held}


def train(part: Part, callback: Callback) -> None:
    """Train.

    Args:
        part: Of this process.
        callback: Who watches.
    """
    job, variant = part.job, part.variant
    setting = replace(job.setting, method=variant.method)
    prompts = job.work.prompts
    places = list(range(len(prompts)))[part.rank :: part.processes]
    tokens = setting.prompt_length + setting.group_size * setting.response_length
    dtype: Any = "float32" if job.exact else setting.dtype
    module = make_module(
        job,
        PretrainedPolicy(
            str(job.model),
            torch_dtype=dtype,
            gradient_checkpointing=job.gradient_checkpointing,
            lora=None if variant.method == "full" else LoRA(r=16, alpha=32),
            # Packed bits that pretend to be of the other weights' type can be split and gathered with them.
            quantization=Quantization(compute_dtype=dtype, storage_dtype=dtype) if variant.method == "qlora" else None,
        ),
        SelfSource(setting.group_size, setting.response_length) if variant.rollouts else None,
        # As many tokens as the prompts of a micro-batch bring along, the same whatever the number of processes.
        micro_batch_tokens=tokens * len(prompts) // (2 * variant.micro_batches),
    )
    together = variant.strategy is not None
    alone: Any = [part.rank] if setting.device == "cuda" else 1
    fit(
        module,
        DataLoader([batch_of([prompts[place] for place in places], places)], batch_size=None),  # an epoch is a step
        callback,
        device=setting.device,
        autocast=variant.autocast,
        steps=job.steps,
        workplace=job.workplace,
        strategy=STRATEGIES[variant.strategy]() if variant.strategy else "auto",
        devices=part.processes if together else alone,
    )


class Watch(Callback):
    """Counts the traffic of the last step and notes what training changed.

    Args:
        steps: Of the training.
        file: Where to write the changes of the weights to; ``None`` for nowhere.
    """

    def __init__(self, steps: int, file: Path | None) -> None:
        self.observed = Observed()
        self._counting = CountTraffic(self.observed.traffic)
        self._last, self._file = steps - 1, file
        self._before: dict[str, Tensor] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take note of the weights before."""
        policy: Any = pl_module.policy
        self._before = whole_weights(policy)
        self.observed.sizes = sizes_of(policy)
        policy.register_forward_pre_hook(self._pass)

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        """Begin to count."""
        self.observed.micro_batches = 0
        if trainer.global_step == self._last:  # the first makes what lasts: buckets, streams, Adam's averages
            self._counting.__enter__()

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """End counting."""
        if trainer.global_step == self._last + 1:
            self._counting.__exit__(None, None, None)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what has changed."""
        policy: Any = pl_module.policy
        after = whole_weights(policy)
        if self._file is not None:
            torch.save({name: after[name] - before for name, before in self._before.items()}, self._file)

    def _pass(self, *_: Any) -> None:
        self.observed.micro_batches += 1


class Scale(Callback):
    """Tells a meter when the model is loaded, and counts what this process holds after the last step.

    Args:
        meter: Takes notes.
    """

    def __init__(self, meter: Meter) -> None:
        self.held: dict[str, float] = {}
        self._meter = meter

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin."""
        self._meter.loaded(pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count."""
        weights = list(pl_module.parameters())
        (optimizer,) = trainer.optimizers
        self.held = {
            "weights_mib": _mib(weights),
            "gradients_mib": _mib(weight.grad for weight in weights if weight.grad is not None),
            "optimizer_mib": _mib(_states(optimizer)),
        }


def whole_weights(policy: torch.nn.Module) -> dict[str, Tensor]:
    """Return copies of all trained weights, put together from their parts; all processes ask for them.

    Args:
        policy: Whose.
    """
    named = [(name, weight.detach()) for name, weight in policy.named_parameters() if weight.requires_grad]
    return {
        name: (weight.full_tensor() if isinstance(weight, DTensor) else weight).cpu().clone() for name, weight in named
    }


def sizes_of(policy: Any) -> Sizes:
    """Return the bytes of a policy's weights, those under FSDP2 as they are gathered.

    Args:
        policy: Placed on its processes.
    """
    blocks = transformer_blocks(policy.model)
    in_blocks = [_gathered(block.parameters(), block) for block in blocks]
    inside = {weight for block in blocks for weight in block.parameters()}
    root = _gathered([weight for weight in policy.parameters() if weight not in inside], policy)
    gradients = sum(4 * weight.numel() for weight in policy.parameters() if weight.requires_grad)
    return Sizes(root + sum(in_blocks), root, in_blocks[-1], gradients)


def _states(optimizer: Optimizer) -> list[Tensor]:
    return [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]


def _gathered(weights: Iterable[Tensor], owner: torch.nn.Module) -> int:
    """Return the bytes of weights in the data type in which their owner gathers them."""
    dtype = owner._get_fsdp_state()._mp_policy.param_dtype if isinstance(owner, FSDPModule) else None
    return sum(weight.numel() * (weight.dtype if dtype is None else dtype).itemsize for weight in weights)


def _mib(tensors: Iterable[Tensor]) -> float:
    parts = (tensor.to_local() if isinstance(tensor, DTensor) else tensor for tensor in tensors)
    return round(sum(part.nbytes for part in parts) / MIB, 2)
