"""Bytes that processes send each other in a training step: counted at the collectives, and by formula."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

FIGURE_BYTES = 4096
"""Messages of at most that many bytes are figures, such as a count or a norm; those of weights are larger."""
FIGURE_TYPES = (torch.float64, torch.int64)
"""Messages of these types are figures, too, such as a histogram: no weights have them here."""
FIGURES = "figures"
STRATEGIES = ("ddp", "fsdp2", "fsdp2, kept")
"""``kept`` is ``reshard_after_forward=False``."""
_NAMESPACES = ("c10d", "_c10d_functional", "_c10d_functional_autograd")
_SILENT = ("wait_tensor", "barrier", "monitored_barrier_")  # they move no data
_KINDS = ("all_reduce", "all_gather", "reduce_scatter", "broadcast")


class CountTraffic(TorchDispatchMode):
    """Within this context all collectives of the process are counted, those that C++ code starts too.

    It acts where PyTorch hands operations to their implementations, so DDP's reducer and FSDP's streams pass it like
    any call from Python. Gradients of a GPU come from another thread, to which PyTorch takes the context along.

    Attributes:
        calls: By kind of collective.
        bytes: By kind, of the whole tensor: what an all-gather gives, what a reduce-scatter takes. A ring of ``n``
            processes sends ``(n - 1) / n`` of that a process, and twice as much for an all-reduce.

    Raises:
        NotImplementedError: In the call of a collective that it does not know: none goes uncounted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.split("::")[1]
        kind = None
        if func.namespace in _NAMESPACES and name not in _SILENT:
            plain = name.replace("_", "")  # some are called allgather_, some all_gather_into_tensor
            kind = next((kind for kind in _KINDS if kind.replace("_", "") in plain), None)
            if kind is None:
                raise NotImplementedError(f"the collective {func._schema.name} is not counted yet")
        result = func(*args, **(kwargs or {}))
        if kind is not None:
            parts = [[*_tensors(part)] for part in (*args, *(kwargs or {}).values(), result)]
            size = max(sum(each.nbytes for each in part) for part in parts)
            of_figures = all(each.dtype in FIGURE_TYPES for part in parts for each in part)
            kind = FIGURES if of_figures or size <= FIGURE_BYTES else kind
            self.calls[kind] += 1
            self.bytes[kind] += size
        return result


def _tensors(part: Any) -> Iterator[Tensor]:
    if isinstance(part, Tensor):
        yield part
    elif isinstance(part, list | tuple):
        for inner in part:
            yield from _tensors(inner)


@dataclass(frozen=True)
class Sizes:
    """Bytes of a model's weights, and where FSDP2 gathers them."""

    all: int  # of the whole model as it is gathered, each weight once; under bf16-mixed a weight takes two bytes then
    root: int  # of what is outside of the blocks of layers: embeddings, last norm and head
    block: int  # of the last block
    gradients: int  # which are added up in float32


def closed_form(strategy: str, sizes: Sizes, micro_batches: int = 1, rollouts: bool = False) -> dict[str, int]:
    """Return the bytes that a step of each process should move, by kind of collective and without figures.

    Example:
        >>> closed_form("fsdp2", Sizes(all=40, root=8, block=16, gradients=40), micro_batches=2)
        {'all_gather': 144, 'reduce_scatter': 80}
    """
    if strategy == "ddp":
        return {"all_reduce": sizes.gradients}
    gathered = micro_batches * sizes.all
    if strategy == "fsdp2":  # again for the backward pass, for which the root stays whole
        gathered += micro_batches * (sizes.all - sizes.root)
    if rollouts:  # once for all of it
        gathered += sizes.all
    return {"all_gather": gathered, "reduce_scatter": micro_batches * sizes.gradients}
