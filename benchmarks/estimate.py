"""What a training step should take on several GPUs, in memory and in time: arithmetic, nothing is measured.

python -m benchmarks.estimate --tokens 65536 --responses 64 --utilisation 0.4

The bytes that are moved follow from the formula that ``benchmarks.scaling`` compares with what it has counted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import product
from typing import NamedTuple

from benchmarks.traffic import STRATEGIES, Sizes, closed_form

_RANK, _NODE, _GB = 16, 8, 1e9


class Model(NamedTuple):
    """A language model with an output head of its own; ``keys`` is the width of keys, and of values."""

    name: str
    weights: int
    layers: int
    hidden: int
    intermediate: int
    keys: int
    vocabulary: int

    @property
    def root(self) -> int:
        """Weights of embeddings and head; the last norm does not count."""
        return 2 * self.vocabulary * self.hidden

    @property
    def adapters(self) -> int:
        """Weights of adapters of rank 16 on every linear layer but the head."""
        attention = 2 * 2 * self.hidden + 2 * (self.hidden + self.keys)
        return _RANK * self.layers * (attention + 3 * (self.hidden + self.intermediate))


MODELS = (
    Model("7B", 7_620_000_000, 28, 3584, 18944, 512, 152_064),
    Model("70B", 70_600_000_000, 80, 8192, 28672, 1024, 128_256),
)
"""Qwen2.5-7B, and Llama-3.1-70B or what is like it."""


class Method(NamedTuple):
    """How a model is trained under bf16-mixed, in bytes a weight."""

    name: str
    block: float  # of the blocks' weights, as they are stored
    root: float  # of embeddings and head, as they are stored and gathered
    gathered: float  # of the blocks' weights, as they are gathered and used
    adapter: float  # of the adapters, as they are gathered; 0 where all weights train
    everywhere: float  # of the blocks' weights, beside them, on every GPU: quantisation's scales are not sharded
    flops: int  # a weight and token: 2 forward, 2 for the gradient of the input, 2 for that of the weight


_SCALES = 1 / 64 + 4 / (64 * 256)  # a byte for 64 weights, and for 256 of these a float32
METHODS = (
    Method("full", 4, 4, 2, 0, 0, 6),
    Method("LoRA", 2, 2, 2, 2, 0, 4),
    Method("QLoRA", 0.5, 2, 0.5, 4, _SCALES, 4),
)


@dataclass(frozen=True)
class Circumstances:
    """Hardware and work of each GPU: published figures of the H100 SXM and, where docs/scaling.md says so, assumptions.

    Memory in bytes, bandwidths in bytes a second in each direction, products in FLOP/s.
    """

    memory: float = 80e9
    flops: float = 989e12
    utilisation: float = 0.4
    nvlink: float = 450e9
    infiniband: float = 50e9
    reached: float = 0.8
    tokens: int = 65536
    micro_batch_tokens: int = 16384
    responses: int = 64
    length: int = 1024


def sizes(model: Model, method: Method) -> Sizes:
    """Return the bytes of a model as it is gathered."""
    blocks = (model.weights - model.root) * method.gathered + model.adapters * method.adapter
    root = model.root * method.root
    trained = model.adapters if method.adapter else model.weights
    return Sizes(int(blocks + root), int(root), int(blocks / model.layers), 4 * trained)


def memory(model: Model, method: Method, strategy: str, gpus: int, given: Circumstances) -> dict[str, float]:
    """Return bytes of a GPU: what stays, what comes beside in training and in drawing, and the most of all."""
    used, blocks = sizes(model, method), model.weights - model.root
    count = used.gradients // 4
    stored = blocks * method.block + model.root * method.root + (4 * count if method.adapter else 0)
    if strategy == "ddp":
        # Beside gradients and Adam's averages the reducer's buckets; and what autocast makes of float32 weights.
        states = stored + blocks * method.everywhere + (4 + 8 + 4) * count
        training = drawing = 0.0 if method.adapter else 2 * model.weights
    else:
        states = (stored + (4 + 8) * count) / gpus + blocks * method.everywhere
        training = used.all if strategy == "fsdp2, kept" else used.root + 2 * used.block  # the next is fetched ahead
        drawing = used.all
    # What goes into each block has the data type of the embeddings that it comes from.
    training += method.root * model.layers * model.hidden * given.micro_batch_tokens
    drawing += 2 * 2 * model.layers * model.keys * given.responses * given.length
    return {"states": states, "training": training, "drawing": drawing, "most": states + max(training, drawing)}


def seconds(model: Model, method: Method, strategy: str, gpus: int, given: Circumstances) -> dict[str, float]:
    """Return bytes moved, and seconds of computing an update and of moving them, with and without a node's sharing."""
    micro_batches = -(-given.tokens // given.micro_batch_tokens)
    moved = closed_form(strategy, sizes(model, method), micro_batches, rollouts=True)
    passed = sum((2 if kind == "all_reduce" else 1) * size for kind, size in moved.items()) / given.reached
    nodes = max(gpus // _NODE, 1)
    inside = passed * (1 - 1 / gpus) / given.nvlink
    # A byte enters a node once, through any of its adapters, and NVLink passes it on; or each GPU gets it by its own.
    shared = passed * (1 - 1 / nodes) / (_NODE * given.infiniband)
    return {
        "update_bytes": sum(closed_form(strategy, sizes(model, method), micro_batches).values()),
        "bytes": sum(moved.values()),
        "computing": method.flops * model.weights * given.tokens / (given.flops * given.utilisation),
        "moving": max(inside, shared),
        "moving_alone": passed * (1 - 1 / gpus) / given.infiniband if nodes > 1 else inside,
    }


def tables(models: Sequence[Model], given: Circumstances) -> str:
    """Return the tables of memory and of time in Markdown, for 8 and 64 GPUs."""
    rows_of_memory, rows_of_time = [], []
    for model, method, strategy in product(models, METHODS, STRATEGIES):
        name = [f"{model.name}, {method.name}", strategy]
        few, many = (memory(model, method, strategy, gpus, given) for gpus in (8, 64))
        shown = (few["states"], many["states"], few["training"], few["drawing"])
        most = [f"{found['most'] / _GB:.1f}" for found in (few, many)]
        bold = [f"**{text}**" if float(text) < given.memory / _GB else text for text in most]
        rows_of_memory.append([*name, *(f"{size / _GB:.1f}" for size in shown), *bold])
        few, many = (seconds(model, method, strategy, gpus, given) for gpus in (8, 64))
        moved = [f"{few[what] / _GB:.1f}" for what in ("update_bytes", "bytes")]
        times = [f"{few['computing']:.2f}", f"{few['moving']:.2f}", _share(few, "moving"), f"{many['moving']:.2f}"]
        rows_of_time.append([*name, *moved, *times, _share(many, "moving"), _share(many, "moving_alone")])
    memory_head = "states, 8 GPUs|states, 64 GPUs|beside, training|beside, sampling|most, 8 GPUs|most, 64 GPUs"
    time_head = "GB an update|GB with rollouts|computing, s|moving, 8 GPUs, s|share|moving, 64 GPUs, s|share"
    parts = _table(memory_head, rows_of_memory), _table(f"{time_head}|share, not shared", rows_of_time)
    return "\n\n".join(parts)


def _share(found: dict[str, float], moving: str) -> str:
    return f"{found[moving] / (found[moving] + found['computing']):.0%}"


def _table(head: str, rows: Sequence[Sequence[str]]) -> str:
    names = ["model, method", "strategy", *head.split("|")]
    lines = [names, ["---"] * 2 + ["---:"] * (len(names) - 2), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main(args: Sequence[str] | None = None) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for field in fields(Circumstances):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    parser.add_argument("--model", help="fields of another model, as JSON")
    options = vars(parser.parse_args(args))
    model = options.pop("model")
    print(tables(MODELS if model is None else [Model(**json.loads(model))], Circumstances(**options)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
