"""Seconds to draw groups of responses, ours beside transformers' own ``generate``.

python -m benchmarks.rollout --prompts 16 --group-size 8 --prompt-length 512 --response-length 128 --output results.json

All draw from the same model in the same process, in turn. Before that their greedy responses are compared token by
token, and our log-probabilities with those of one pass over the whole responses.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import get_args

import torch

from benchmarks.circumstances import circumstances
from benchmarks.contest import interleave, print_table, summarize, write_record
from benchmarks.draws import CONTESTANTS, OURS, Lengths, Work
from benchmarks.options import check_device
from benchmarks.setting import Device, Size
from lightning_gft.types import Response

TOLERANCE = 1e-3
"""How far apart log-probabilities may be in float32: as much as the order of summation makes of them."""


def main(args: Sequence[str] | None = None) -> int:
    """Compare, time, print a table and write the record.

    Args:
        args: Command line; default the process's.
    """
    options = _parser().parse_args(args)
    check_device(options.device)
    work = Work(**{field.name: getattr(options, field.name) for field in fields(Work)})
    runnable, excuses = check(work)
    tokens: dict[str, list[int]] = {name: [] for name in runnable}
    seconds = interleave(
        {name: partial(_count, work, name, tokens[name]) for name in runnable},
        options.rounds,
        device=options.device,
    )
    figures = summarize(seconds, OURS)
    for name, row in figures.items():
        timed = tokens[name][-options.rounds :]
        row["tokens"] = round(sum(timed) / len(timed))
        row["tokens_per_s"] = round(sum(timed) / sum(seconds[name]))
    print_table(f"{work.size}, {work.device}, {work.lengths} lengths", figures)
    for name, excuse in excuses.items():
        print(f"{name} did not run: {excuse}")
    write_record(
        options.output,
        {
            **circumstances("benchmarks.rollout", options.device, args),
            "work": asdict(work),
            "figures": figures,
            "did_not_run": excuses,
            "seconds": seconds,
        },
    )
    return 0


def check(work: Work) -> tuple[list[str], dict[str, str]]:
    """Return the contestants that give the same greedy responses as ``generate``, and why the others do not take part.

    Args:
        work: What to draw.

    Raises:
        RuntimeError: If it is ours that differs, or if our log-probabilities are not those of the model.
    """
    runnable: list[str] = []
    excuses: dict[str, str] = {}
    expected: list[list[int]] | None = None
    with work.in_float32():  # in which there are next to no ties
        for name, draw in CONTESTANTS.items():
            try:
                drawn = draw(work, greedy=True)
            except Exception as error:  # noqa: BLE001 (whatever it is, the others are still to be timed)
                excuses[name] = f"{type(error).__name__}: {error}"[:200]
                continue
            expected = expected or drawn
            if drawn != expected:
                excuses[name] = "its greedy responses are not those of the others"
            else:
                runnable.append(name)
        if OURS in excuses:
            raise RuntimeError(f"ours did not run: {excuses[OURS]}")
        apart = farthest(work, work.responses(greedy=False))
    if apart > TOLERANCE:
        raise RuntimeError(f"our log-probabilities are up to {apart} from those of the model")
    return runnable, excuses


@torch.no_grad()
def farthest(work: Work, drawn: list[list[Response]]) -> float:
    """Return the largest difference of our log-probabilities from those of one pass over a prompt and its response.

    Args:
        work: What was drawn.
        drawn: Our responses to each prompt.
    """
    largest = 0.0
    for ids, [response, *_] in zip(work.prompt_ids, drawn, strict=True):
        row = torch.tensor([[*ids, *response.token_ids]], device=work.device)
        logits = work.model(input_ids=row, use_cache=False).logits[0, len(ids) - 1 : -1].float()
        expected = logits.log_softmax(-1).gather(1, row[0, len(ids) :, None]).squeeze(1)
        difference = torch.tensor(response.logprobs, device=work.device) - expected
        largest = max(largest, difference.abs().max().item())
    return largest


def _count(work: Work, name: str, counts: list[int]) -> None:
    counts.append(sum(map(len, CONTESTANTS[name](work, greedy=False))))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=(*get_args(Size), "arithmetic"), default="tiny", help="architecture")
    parser.add_argument("--device", choices=get_args(Device), default="cpu")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--group-size", type=int, default=8, help="responses a prompt")
    parser.add_argument("--prompt-length", type=int, default=512, help="tokens of the longest prompt")
    parser.add_argument("--response-length", type=int, default=128, help="tokens of the longest response")
    parser.add_argument(
        "--lengths", choices=get_args(Lengths), default="even", help="ragged: prompts differ, responses end by chance"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="JSON file for the record")
    return parser


if __name__ == "__main__":
    sys.exit(main())
