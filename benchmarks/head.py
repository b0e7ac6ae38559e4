"""Time and memory of the head's loss, forward and backward, ours beside those of others.

python -m benchmarks.head --device cpu --dtype float32 --tokens 2048 --hidden 896 --output head.json

All run in one process, in turn, on the same tensors, after it was checked that they give the same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks.circumstances import circumstances
from benchmarks.contest import interleave, print_table, summarize, write_record
from benchmarks.head_contestants import CONTESTANTS, OURS, HeadInputs, HeadOutputs, draw_inputs
from benchmarks.head_memory import MIB, added_memory, contestant
from benchmarks.options import check_device

TOLERANCES = {"float32": 1e-4, "bfloat16": 2e-2}
"""Largest relative difference, in the norm, from full logits' values."""
_DEFAULTS: dict[str, tuple[int, list[int], str]] = {
    "cpu": (2048, [896], "float32"),
    "cuda": (8192, [1536, 3584], "bfloat16"),
}
_REFERENCE = "full logits"


def main(args: Sequence[str] | None = None) -> int:
    """Measure every contestant, print tables and write the record.

    Args:
        args: Command line; default the process's.
    """
    options = _parser().parse_args(args)
    check_device(options.device)
    tokens, widths, dtype = _DEFAULTS[options.device]
    tokens, widths, dtype = options.tokens or tokens, options.hidden or widths, options.dtype or dtype
    measurements = []
    for width in widths:
        inputs = draw_inputs(tokens, width, options.vocabulary, getattr(torch, dtype), options.device)
        measured = measure(inputs, options.rounds)
        print_table(f"{tokens} tokens, hidden {width}, {options.vocabulary} words, {dtype}", measured["contestants"])
        for name, why in measured["did_not_run"].items():
            Console().print(f"{name} did not run: {why}", markup=False)
        measurements.append({"tokens": tokens, "hidden": width, "vocabulary": options.vocabulary, **measured})
    shared = {"dtype": dtype, "rounds": options.rounds, "measurements": measurements}
    write_record(options.output, {**circumstances("benchmarks.head", options.device, args), **shared})
    return 0


def measure(inputs: HeadInputs, rounds: int) -> dict[str, Any]:
    """Return what every contestant takes, and why others did not run.

    Args:
        inputs: What all are given.
        rounds: Timed rounds.
    """
    did_not_run = check_agreement(inputs)
    device = inputs.hidden.device.type
    names = [name for name in (*CONTESTANTS, "floor") if name not in did_not_run]
    seconds = interleave({name: partial(contestant(name), inputs) for name in names}, rounds, device=device)
    rows: dict[str, dict[str, Any]] = {**summarize(seconds, OURS)}
    # The gradients themselves are what is asked for, and no contestant can do without.
    gradients = sum(tensor.numel() * tensor.element_size() for tensor in (inputs.hidden, inputs.weight)) / MIB
    for name in names:
        added = added_memory(name, inputs)
        rows[name] |= {"added_mib": round(added), "beyond_gradients_mib": round(added - gradients)}
    return {"contestants": rows, "did_not_run": did_not_run}


def check_agreement(inputs: HeadInputs) -> dict[str, str]:
    """Compare every contestant's values with those of full logits.

    Args:
        inputs: What all are given.

    Returns:
        Those that did not run, and why.

    Raises:
        SystemExit: If one gives something else.
    """
    did_not_run: dict[str, str] = {}
    expected = CONTESTANTS[_REFERENCE](inputs)
    for name, run in CONTESTANTS.items():
        try:
            given = run(inputs)
        except ImportError as error:
            did_not_run[name] = f"not installed: {error}"
            continue
        wrong = _differences(given, expected, TOLERANCES[str(inputs.hidden.dtype).removeprefix("torch.")])
        if wrong:
            sys.exit(f"{name} and {_REFERENCE} give different values, so their times are not compared: {wrong}")
    return did_not_run


def _differences(given: HeadOutputs, expected: HeadOutputs, tolerance: float) -> str:
    """Name what differs by more than ``tolerance``, relative to its norm."""
    wrong = []
    for field in fields(HeadOutputs):
        a, b = getattr(given, field.name), getattr(expected, field.name)
        difference = float(torch.linalg.vector_norm(a - b, dtype=torch.float32))
        difference /= float(torch.linalg.vector_norm(b, dtype=torch.float32))
        if not difference <= tolerance:
            wrong.append(f"{field.name} by {difference:.1e}")
    return ", ".join(wrong)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=_DEFAULTS, default="cpu")
    parser.add_argument("--dtype", choices=TOLERANCES, help="float32; on CUDA bfloat16")
    parser.add_argument("--tokens", type=int, help="2048; on CUDA 8192")
    parser.add_argument("--hidden", type=int, nargs="+", help="one or several widths: 896; on CUDA 1536 and 3584")
    parser.add_argument("--vocabulary", type=int, default=151936, help="words; Qwen2.5's")
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds, after one that is not")
    parser.add_argument("--output", type=Path, help="JSON file for the record")
    return parser


if __name__ == "__main__":
    sys.exit(main())
