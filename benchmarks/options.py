"""Command lines and folders that several measurements have in common."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

import torch

from benchmarks.random_model import write_model
from benchmarks.setting import Device, Setting, Size


def training_parser(module_doc: str | None) -> argparse.ArgumentParser:
    """Return a parser with what every measurement of a training can be told.

    Args:
        module_doc: The script's docstring, whose first line describes it.
    """
    parser = argparse.ArgumentParser(description=(module_doc or "").splitlines()[0])
    parser.add_argument("--size", choices=get_args(Size), default="tiny", help="architecture; the large are Qwen2.5's")
    parser.add_argument("--device", choices=get_args(Device), default="cpu")
    parser.add_argument("--group-size", type=int, default=8, help="responses a prompt")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="JSON file for the record")
    parser.add_argument("--workplace", type=Path, help="folder for the model, 15 GB for 7b; default the system's")
    return parser


def given_work_parser(module_doc: str | None, prompt_length: int) -> argparse.ArgumentParser:
    """Return a parser for timed updates on responses that are given.

    Args:
        module_doc: See :func:`training_parser`.
        prompt_length: Default.
    """
    parser = training_parser(module_doc)
    parser.add_argument("--prompt-length", type=int, default=prompt_length, help="tokens")
    parser.add_argument("--mean-response", type=int, default=64, help="tokens; they are 1 to nearly twice as long")
    parser.add_argument("--rounds", type=int, default=3, help="how often each has its turn")
    parser.add_argument("--steps", type=int, default=2, help="steps of a turn that are timed")
    parser.add_argument("--warmup", type=int, default=1, help="steps of a turn before these")
    return parser


def given_work_setting(options: argparse.Namespace, prompts: int = 1, rows_per_pass: int = 1) -> Setting:
    """Return the setting of timed updates on responses that are given.

    Args:
        options: What a parser of :func:`given_work_parser` and ``--vocab-size`` made.
        prompts: A training step.
        rows_per_pass: Sequences that go through a model at once, of those sides that count them.
    """
    return Setting(
        size=options.size,
        device=options.device,
        method="full",
        group_size=options.group_size,
        prompts=prompts,
        prompt_length=options.prompt_length,
        response_length=2 * options.mean_response - 1,
        rows_per_pass=rows_per_pass,
        steps=options.steps,
        seed=options.seed,
        vocab_size=options.vocab_size,
    )


def check_device(device: str) -> None:
    """End where there is no such device.

    Args:
        device: ``"cpu"`` or ``"cuda"``.
    """
    if device == "cuda" and not torch.cuda.is_available():
        sys.exit("--device=cuda: there is none here")


def check_passes(rows: int, rows_per_pass: int) -> None:
    """End where the sequences of a step cannot be split evenly.

    Args:
        rows: Sequences of a step.
        rows_per_pass: Sequences at once.
    """
    if rows % rows_per_pass:
        sys.exit(f"--rows-per-pass={rows_per_pass} must divide the {rows} sequences of a step")


@contextmanager
def model_and_workplace(parent: Path | None, setting: Setting) -> Iterator[tuple[Path, Path]]:
    """Give a folder with a model and an empty one, for the time being.

    Args:
        parent: Where to make them; ``None`` for the system's temporary folder.
        setting: What model.
    """
    with TemporaryDirectory(dir=parent) as folder:
        model, workplace = Path(folder, "model"), Path(folder, "work")
        model.mkdir()
        workplace.mkdir()
        write_model(model, setting)
        yield model, workplace
