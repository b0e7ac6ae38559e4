"""What processes send one another, counted at the collectives themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from typing_extensions import override

FIGURE_BYTES = 4096
"""Messages of at most that many bytes are figures, such as a count or a norm; those of weights are larger."""
FIGURES = "figures"
_NAMESPACES = ("c10d", "_c10d_functional", "_c10d_functional_autograd")
_SILENT = ("wait_tensor", "barrier", "monitored_barrier_")  # they move no data
_KINDS = {
    "all_reduce": ("allreduce_", "allreduce_coalesced_", "all_reduce", "all_reduce_", "all_reduce_coalesced"),
    "all_gather": (
        *("allgather_", "_allgather_base_", "allgather_coalesced_", "allgather_into_tensor_coalesced_"),
        *("all_gather_into_tensor", "all_gather_into_tensor_coalesced"),
    ),
    "reduce_scatter": (
        *("reduce_scatter_", "_reduce_scatter_base_", "reduce_scatter_tensor_coalesced_"),
        *("reduce_scatter_tensor", "reduce_scatter_tensor_coalesced"),
    ),
    "broadcast": ("broadcast_", "broadcast"),
}
_KIND_OF = {operation: kind for kind, operations in _KINDS.items() for operation in operations}


@dataclass
class Traffic:
    """Calls and bytes by kind of collective, as one process sees them.

    Bytes are those of the whole tensor: what an all-gather gives, what a reduce-scatter takes. A ring of ``n``
    processes sends and receives ``(n - 1) / n`` of that a process, and twice as much for an all-reduce.

    Args:
        calls: By kind.
        bytes: By kind.
    """

    calls: dict[str, int] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)

    def add(self, kind: str, size: int) -> None:
        """Count one collective.

        Args:
            kind: Which.
            size: Bytes of the whole tensor.
        """
        kind = kind if size > FIGURE_BYTES else FIGURES
        self.calls[kind] = self.calls.get(kind, 0) + 1
        self.bytes[kind] = self.bytes.get(kind, 0) + size


class CountTraffic(TorchDispatchMode):
    """Within this context all collectives of the process are counted, those that C++ code starts too.

    It stands where PyTorch hands operations to their implementations, so DDP's reducer and FSDP's streams pass it like
    any call from Python. Gradients of a GPU come from another thread, to which PyTorch takes the context along.

    Args:
        traffic: Where to.

    Raises:
        NotImplementedError: In the call of a collective that it does not know: nothing goes uncounted.
    """

    def __init__(self, traffic: Traffic) -> None:
        super().__init__()
        self.traffic = traffic

    @override
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.split("::")[1]
        counted = func.namespace in _NAMESPACES and name not in _SILENT
        if counted and name not in _KIND_OF:
            raise NotImplementedError(f"the collective {func._schema.name} is not counted yet")
        result = func(*args, **(kwargs or {}))
        if counted:
            parts = (*args, *(kwargs or {}).values(), result)
            self.traffic.add(_KIND_OF[name], max(sum(each.nbytes for each in _tensors(part)) for part in parts))
        return result


def _tensors(part: Any) -> Iterator[Tensor]:
    if isinstance(part, Tensor):
        yield part
    elif isinstance(part, list | tuple):
        for inner in part:
            yield from _tensors(inner)


@dataclass(frozen=True)
class Sizes:
    """Bytes of a model's weights, and where FSDP2 gathers them.

    Args:
        all: Of the whole model as it is gathered, each weight once. Under bf16-mixed a weight takes two bytes then.
        root: Of what is outside of the blocks of layers: embeddings, last norm and head.
        block: Of the last block.
        gradients: Of all gradients, which are added up in float32.
    """

    all: int
    root: int
    block: int
    gradients: int


def closed_form(strategy: str, sizes: Sizes, micro_batches: int = 1, rollouts: bool = False) -> dict[str, int]:
    """Return the bytes that a step should move, by kind of collective and without figures.

    Args:
        strategy: ``"ddp"``, ``"fsdp2"``, or ``"fsdp2, kept"`` for ``reshard_after_forward=False``.
        sizes: Of the model.
        micro_batches: Of a step and process.
        rollouts: Whether the policy draws responses.

    Example:
        >>> closed_form("fsdp2", Sizes(all=40, root=8, block=16, gradients=40), micro_batches=2)
        {'all_gather': 160, 'reduce_scatter': 80}
    """
    if strategy == "ddp":
        return {"all_reduce": sizes.gradients}
    gathered = micro_batches * sizes.all
    if strategy == "fsdp2":  # again for the backward pass; after a rollout the root stays whole in between
        gathered += micro_batches * (sizes.all - sizes.root if rollouts else sizes.all)
    if rollouts:  # once for all of it; and FSDP, which takes a rollout's passes for such with a backward, fetches ahead
        gathered += sizes.all + sizes.block
    return {"all_gather": gathered, "reduce_scatter": micro_batches * sizes.gradients}
