"""What a training step should take on several GPUs, in memory and in time: arithmetic, nothing is measured.

python -m benchmarks.estimate --tokens 65536 --responses 64 --utilisation 0.4

What is moved follows from the formula that ``benchmarks.scaling`` compares with what it has counted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from benchmarks.traffic import Sizes, closed_form

STRATEGIES = ("ddp", "fsdp2", "fsdp2, kept")
GPUS = (8, 64)
_RANK = 16
_GB = 1e9
_BEGIN, _END = "<!-- tables -->", "<!-- end of tables -->"


@dataclass(frozen=True)
class Model:
    """A language model with an output head of its own.

    Args:
        name: For the tables.
        weights: All.
        layers: Blocks of layers.
        hidden: Width.
        intermediate: Width within the feed-forward layers.
        keys: Width of keys, and of values.
        vocabulary: Words.
    """

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


@dataclass(frozen=True)
class Method:
    """How a model is trained under bf16-mixed, in bytes a weight.

    Args:
        name: For the tables.
        block: Of the blocks' weights, as they are stored.
        root: Of embeddings and head, as they are stored and gathered.
        gathered: Of the blocks' weights, as they are gathered and used.
        adapter: Of the adapters, as they are gathered.
        everywhere: Of the blocks' weights, beside them, on every GPU: the scales of quantised ones are not split.
        flops: A weight and token: 2 forward, 2 for the gradient of what went in, 2 for that of the weight.
        adapts: Whether adapters train in place of the weights.
    """

    name: str
    block: float
    root: float
    gathered: float
    adapter: float
    everywhere: float
    flops: int
    adapts: bool


_SCALES = 1 / 64 + 4 / (64 * 256)  # a byte for 64 weights, and for 256 of these a float32
METHODS = (
    Method("full", 4, 4, 2, 0, 0, 6, adapts=False),
    Method("LoRA", 2, 2, 2, 2, 0, 4, adapts=True),
    Method("QLoRA", 0.5, 2, 0.5, 4, _SCALES, 4, adapts=True),
)


@dataclass(frozen=True)
class Circumstances:
    """Hardware and work; the defaults are published figures of the H100 SXM, and assumptions.

    Args:
        memory: Bytes of a GPU.
        flops: Of a GPU a second, in bfloat16, dense.
        utilisation: Share of these that training reaches: assumed.
        nvlink: Bytes a second between the GPUs of a node, of each of them and in each direction.
        infiniband: Bytes a second between nodes, of each GPU and in each direction.
        reached: Share of bandwidths that is reached: assumed.
        node: GPUs of a node.
        tokens: That each GPU trains on in a step.
        micro_batch_tokens: Of these at once.
        responses: That each GPU draws at once.
        length: Tokens of a response with its prompt.
    """

    memory: float = 80e9
    flops: float = 989e12
    utilisation: float = 0.4
    nvlink: float = 450e9
    infiniband: float = 50e9
    reached: float = 0.8
    node: int = 8
    tokens: int = 65536
    micro_batch_tokens: int = 16384
    responses: int = 64
    length: int = 1024

    @property
    def micro_batches(self) -> int:
        """Of a step and GPU."""
        return -(-self.tokens // self.micro_batch_tokens)


def trained(model: Model, method: Method) -> int:
    """Return how many weights train.

    Args:
        model: Which.
        method: How.
    """
    return model.adapters if method.adapts else model.weights


def sizes(model: Model, method: Method) -> Sizes:
    """Return the bytes of a model as it is gathered.

    Args:
        model: Which.
        method: How it is trained.
    """
    blocks = (model.weights - model.root) * method.gathered + model.adapters * method.adapter
    root = model.root * method.root
    return Sizes(int(blocks + root), int(root), int(blocks / model.layers), 4 * trained(model, method))


def memory(model: Model, method: Method, strategy: str, gpus: int, given: Circumstances) -> dict[str, float]:
    """Return bytes of a GPU: what stays, what comes beside while it trains and while it draws, and the most of all.

    Args:
        model: Which.
        method: How.
        strategy: One of :data:`STRATEGIES`.
        gpus: How many.
        given: Circumstances.
    """
    count, blocks = trained(model, method), model.weights - model.root
    stored = blocks * method.block + model.root * method.root + (4 * count if method.adapts else 0)
    used = sizes(model, method)
    if strategy == "ddp":
        # Beside gradients and Adam's averages the reducer's buckets; and what autocast makes of float32 weights.
        states = stored + blocks * method.everywhere + (4 + 8 + 4) * count
        training = drawing = 0.0 if method.adapts else 2 * model.weights
    else:
        states = (stored + (4 + 8) * count) / gpus + blocks * method.everywhere
        training = used.all if strategy == "fsdp2, kept" else used.root + 2 * used.block  # the next is fetched ahead
        drawing = used.all
    training += 2 * model.layers * model.hidden * given.micro_batch_tokens  # what goes into each block, in bfloat16
    drawing += 2 * 2 * model.layers * model.keys * given.responses * given.length
    return {"states": states, "training": training, "drawing": drawing, "most": states + max(training, drawing)}


def seconds(model: Model, method: Method, strategy: str, gpus: int, given: Circumstances) -> dict[str, float]:
    """Return bytes moved, and seconds of computing an update and of moving them, with and without a node's sharing.

    Args:
        model: Which.
        method: How.
        strategy: One of :data:`STRATEGIES`.
        gpus: How many.
        given: Circumstances.
    """
    moved = closed_form(strategy, sizes(model, method), given.micro_batches, rollouts=True)
    without = closed_form(strategy, sizes(model, method), given.micro_batches, rollouts=False)
    passed = sum((2 if kind == "all_reduce" else 1) * size for kind, size in moved.items())
    nodes = max(gpus // given.node, 1)
    inside = passed * (1 - 1 / gpus) / (given.nvlink * given.reached)
    # A byte enters a node once, through any of its adapters, and goes on over NVLink; or each GPU gets it by its own.
    shared = passed * (1 - 1 / nodes) / (given.node * given.infiniband * given.reached)
    alone = passed * (1 - 1 / gpus) / (given.infiniband * given.reached) if nodes > 1 else inside
    return {
        "update_bytes": sum(without.values()),
        "bytes": sum(moved.values()),
        "computing": method.flops * model.weights * given.tokens / (given.flops * given.utilisation),
        "moving": max(inside, shared),
        "moving_alone": alone,
    }


def tables(models: Sequence[Model], given: Circumstances) -> str:
    """Return both tables in Markdown.

    Args:
        models: Which.
        given: Circumstances.
    """
    cases = [(model, method, strategy) for model in models for method in METHODS for strategy in STRATEGIES]
    head = ["model, method", "strategy"]
    heads = [f"{what}, {gpus} GPUs" for what in ("states", "most") for gpus in GPUS]
    memory_head = [*head, *heads[:2], "beside, training", "beside, drawing", *heads[2:]]
    time_head = [*head, "GB an update", "GB with rollouts", "computing, s"]
    time_head += ["moving, 8 GPUs, s", "share", "moving, 64 GPUs, s", "share", "share, not shared"]
    return "\n\n".join(
        (
            _table(memory_head, [_memory_row(*case, given) for case in cases]),
            _table(time_head, [_time_row(*case, given) for case in cases]),
        )
    )


def _memory_row(model: Model, method: Method, strategy: str, given: Circumstances) -> list[str]:
    few, many = (memory(model, method, strategy, gpus, given) for gpus in GPUS)
    alike = [f"{few[name] / _GB:.1f}" for name in ("training", "drawing")]
    states = [f"{found['states'] / _GB:.1f}" for found in (few, many)]
    most = [f"{found['most'] / _GB:.1f}" for found in (few, many)]
    fitting = [f"**{text}**" if float(text) < given.memory / _GB else text for text in most]
    return [f"{model.name}, {method.name}", strategy, *states, *alike, *fitting]


def _time_row(model: Model, method: Method, strategy: str, given: Circumstances) -> list[str]:
    few, many = (seconds(model, method, strategy, gpus, given) for gpus in GPUS)
    return [
        *(f"{model.name}, {method.name}", strategy),
        *(f"{few[name] / _GB:.1f}" for name in ("update_bytes", "bytes")),
        *(f"{few['computing']:.2f}", f"{few['moving']:.2f}", _share(few, "moving")),
        *(f"{many['moving']:.2f}", _share(many, "moving"), _share(many, "moving_alone")),
    ]


def _share(found: dict[str, float], moving: str) -> str:
    return f"{found[moving] / (found[moving] + found['computing']):.0%}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * 2 + ["---:"] * (len(head) - 2), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def put_into(page: str, text: str) -> str:
    """Return a page with a text between its marks.

    Args:
        page: With marks.
        text: To put there.
    """
    before, _, rest = page.partition(_BEGIN)
    return f"{before}{_BEGIN}\n\n{text}\n\n{_END}{rest.partition(_END)[2]}"


def main(args: Sequence[str] | None = None) -> int:
    """Print the tables, or put them into a page.

    Args:
        args: Command line; default the process's.
    """
    options = _parser().parse_args(args)
    given = Circumstances(**{field.name: getattr(options, field.name) for field in fields(Circumstances)})
    models = MODELS if options.model is None else [Model(**json.loads(options.model))]
    text = tables(models, given)
    if options.page is None:
        print(text)
    else:
        options.page.write_text(put_into(options.page.read_text(), text))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for field in fields(Circumstances):
        kind = type(field.default)
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=field.default)
    parser.add_argument("--model", help="fields of another model, as JSON")
    parser.add_argument("--page", type=Path, help="page with marks to put the tables into")
    return parser


if __name__ == "__main__":
    sys.exit(main())
