"""Time and memory of the head's loss, forward and backward, ours beside those of others.

python -m benchmarks.head --device cpu --dtype float32 --output head.json

All run in one process, in turn, on the same tensors, after it was checked that they give the same.
"""

from __future__ import annotations

import gc
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks import harness
from benchmarks.harness import MIB, StepLog
from lightning_gft.functional import linear_logprob_loss

TOLERANCES = {"float32": 1e-4, "bfloat16": 2e-2}
"""Largest relative difference, in the norm, from full logits' values."""
_DEFAULTS: dict[str, tuple[int, list[int], str]] = {
    "cpu": (2048, [896], "float32"),
    "cuda": (8192, [1536, 3584], "bfloat16"),
}


class Inputs(NamedTuple):
    """What every contestant is given: ``[M, H]``, ``[V, H]``, ``[M]`` and ``[M]``, the last without gradient."""

    hidden: Tensor
    weight: Tensor
    targets: Tensor
    coefficients: Tensor


Outputs = dict[str, Tensor]
"""Loss, log-probabilities and both gradients, by name; empty of a contestant without any."""


def main(args: Sequence[str] | None = None) -> int:
    """Measure every contestant, print tables and write the record."""
    given = {"dtype": "", "tokens": 0, "hidden": [], "vocab_size": 151936, "rounds": 3}
    options = harness.command_line(__doc__, "head", args, **given)
    tokens, widths, dtype = _DEFAULTS[options.device]
    options.tokens, options.dtype = options.tokens or tokens, options.dtype or dtype
    options.hidden = options.hidden or widths
    measurements = [{"hidden": width, **measure(options, width)} for width in options.hidden]
    harness.write_record(options, measurements=measurements)
    return 0


def measure(options: Namespace, width: int) -> dict[str, Any]:
    """Return what every contestant takes, and why others did not run."""
    sizes = (options.tokens, width, options.vocab_size, options.dtype, options.device, options.seed)
    inputs = draw_inputs(*sizes)
    did_not_run = check_agreement(inputs, TOLERANCES[options.dtype])
    runnable = {name: partial(_timed, name, inputs) for name in CONTESTANTS if name not in did_not_run}
    turns = harness.take_turns(runnable, options.rounds, options.device, warmup_rounds=1)
    rows = harness.compare_times(turns)
    # The gradients themselves are what is asked for, and no contestant can do without.
    gradients = (inputs.hidden.nbytes + inputs.weight.nbytes) / MIB
    for name, row in rows.items():
        here = options.device == "cuda"  # its allocator can set its peak back; a process cannot
        added = _added(name, *sizes) if here else harness.apart(_added, name, *sizes)
        row |= {"added_mib": round(added), "beyond_gradients_mib": round(added - gradients)}
    harness.print_table(f"{options.tokens} tokens, hidden {width}, {options.vocab_size} words, {options.dtype}", rows)
    for name, why in did_not_run.items():
        print(f"{name} did not run: {why}")
    return {"contestants": rows, "did_not_run": did_not_run, "seconds": harness.steps_of(turns)}


def draw_inputs(tokens: int, hidden: int, vocabulary: int, dtype: str, device: str, seed: int = 0) -> Inputs:
    """Draw logits of deviation 1, in place and in their own dtype, so that a process's peak is not that of drawing."""
    generator = torch.Generator(device).manual_seed(seed)

    def draw(*shape: int, deviation: float) -> Tensor:
        drawn = torch.empty(shape, dtype=getattr(torch, dtype), device=device)
        for part in drawn.split(1024):
            part.normal_(std=deviation, generator=generator)
        return drawn.requires_grad_()

    return Inputs(
        hidden=draw(tokens, hidden, deviation=1.0),
        weight=draw(vocabulary, hidden, deviation=hidden**-0.5),
        targets=torch.randint(vocabulary, (tokens,), generator=generator, device=device),
        coefficients=torch.randn(tokens, generator=generator, device=device),
    )


def check_agreement(inputs: Inputs, tolerance: float) -> dict[str, str]:
    """Compare every contestant's values with those of full logits; return which did not run, and why.

    Raises:
        SystemExit: If one gives something else.
    """
    did_not_run: dict[str, str] = {}
    expected = _full_logits(inputs)
    for name, run in CONTESTANTS.items():
        try:
            given = run(inputs)
        except ImportError as error:
            did_not_run[name] = f"not installed: {error}"
            continue
        if wrong := _differences(given, expected, tolerance):
            sys.exit(f"{name} and full logits give different values, so their times are not compared: {wrong}")
    return did_not_run


def _differences(given: Outputs, expected: Outputs, tolerance: float) -> str:
    """Name what differs by more than ``tolerance``, relative to its norm."""

    def norm(values: Tensor) -> float:
        return float(torch.linalg.vector_norm(values, dtype=torch.float32))

    shares = {name: norm(value - expected[name]) / norm(expected[name]) for name, value in given.items()}
    wrong = {name: share for name, share in shares.items() if not share <= tolerance}
    return ", ".join(f"{name} by {share:.1e}" for name, share in wrong.items())


def _ours(inputs: Inputs, entropy: bool = False) -> Outputs:
    hidden, weight, targets, coefficients = inputs
    loss, logprobs, _ = linear_logprob_loss(
        hidden, weight, targets, lambda logprobs, index: coefficients[index], entropy=entropy
    )
    return _backward(inputs, loss, logprobs)


def _full_logits(inputs: Inputs) -> Outputs:
    logits = F.linear(inputs.hidden, inputs.weight)
    logprobs = -F.cross_entropy(logits.float(), inputs.targets, reduction="none")
    del logits  # what autograd does not need is not kept
    return _weighted(inputs, logprobs)


def _trl(inputs: Inputs) -> Outputs:
    from trl.kernels import ChunkedLogProbFunction
    from trl.trainer.utils import _CHUNKED_LOGPROB_CHUNK_SIZE

    logprobs = ChunkedLogProbFunction.apply(
        *(inputs.hidden, inputs.weight, None, inputs.targets),
        *(1.0, _CHUNKED_LOGPROB_CHUNK_SIZE, None, 1.0, ()),  # what its trainers give; nothing but log-probs
    )[0]
    return _weighted(inputs, logprobs)


def _liger(inputs: Inputs) -> Outputs:
    from liger_kernel.ops.fused_linear_scaled_cross_entropy import LigerFusedLinearScaledCrossEntropyFunction

    nll = LigerFusedLinearScaledCrossEntropyFunction.apply(inputs.hidden, inputs.weight, inputs.targets)
    return _weighted(inputs, -nll)


def _floor(inputs: Inputs) -> Outputs:
    """Run the three matrix products that no head can do without; logits take the place of their gradient."""
    with torch.no_grad():
        logits = inputs.hidden @ inputs.weight.mT
        _ = logits @ inputs.weight, logits.mT @ inputs.hidden
    return {}


def _weighted(inputs: Inputs, logprobs: Tensor) -> Outputs:
    return _backward(inputs, -(inputs.coefficients * logprobs).sum(), logprobs.detach())


def _backward(inputs: Inputs, loss: Tensor, logprobs: Tensor) -> Outputs:
    loss.backward()  # as training does, into .grad
    outputs = {"loss": loss.detach(), "logprobs": logprobs}
    for name, factor in (("hidden_grad", inputs.hidden), ("weight_grad", inputs.weight)):
        assert factor.grad is not None  # noqa: S101 (a leaf that requires it)
        outputs[name], factor.grad = factor.grad, None
    return outputs


CONTESTANTS: dict[str, Callable[[Inputs], Outputs]] = {
    "ours": _ours,
    "ours, with entropy": partial(_ours, entropy=True),
    "full logits": _full_logits,
    "TRL": _trl,
    "Liger": _liger,
    "floor": _floor,
}


def _timed(name: str, inputs: Inputs, log: StepLog) -> None:
    with log.step():
        CONTESTANTS[name](inputs)


def _added(name: str, tokens: int, hidden: int, vocabulary: int, dtype: str, device: str, seed: int) -> float:
    """Return the MiB that a contestant adds at its highest to its inputs; on a CPU in a process that ran no other."""
    run = CONTESTANTS[name]
    run(draw_inputs(2, 16, 32, dtype, device))  # imports and the threads' own memory are not the contestant's
    inputs = draw_inputs(tokens, hidden, vocabulary, dtype, device, seed)
    gc.collect()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    before = harness.memory(device)
    run(inputs)
    return harness.peak_memory(device) - before


if __name__ == "__main__":
    sys.exit(main())
