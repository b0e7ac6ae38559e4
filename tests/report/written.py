"""Kept groups as files, as the run itself writes them."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from lightning_gft.record import SAMPLES
from lightning_gft.report.runs import Part, Run
from lightning_gft.samples import SampledGroup, SampledResponse, TokenFigures, to_table
from lightning_gft.samples.reading import sample_path

THRESHOLD = 0.7


def response(completion: str = "4 2", **values: Any) -> SampledResponse:
    """Return a response that did not run."""
    standard = {
        "number": 0,
        "source": "self",
        "finish_reason": "stop",
        "completion_length": len(completion.split()),
        "reward": 1.0,
        "rewards": {"exact": 1.0, "format": None},
        "advantage": 0.5,
    }
    return SampledResponse(completion=completion, **{**standard, **values})


def trained(
    tokens: Sequence[str], probabilities: Sequence[float], advantage: float = 0.5, **values: Any
) -> SampledResponse:
    """Return a response that GFT has trained."""
    factors = [p if p < THRESHOLD else 1.0 for p in probabilities]
    figures = TokenFigures(
        tokens=list(tokens),
        logprobs=[math.log(p) for p in probabilities],
        coefficients=[advantage * factor for factor in factors],
        factors=factors,
        entropies=[0.25] * len(tokens),
    )
    given = {"completion_length": len(tokens), "advantage": advantage, "trained": figures, **values}
    return response("".join(tokens), **given)


def group(*responses: SampledResponse, **values: Any) -> SampledGroup:
    """Return a group of a training step."""
    standard = {"step": 10, "kind": "train", "dataset": "", "group": 0, "size": 8, "prompt": "6 * 7 ="}
    weights = {"exact": 1.0, "format": 0.2}
    return SampledGroup(**{**standard, "weights": weights, "responses": list(responses), **values})


def write_groups(folder: Path, groups: Iterable[SampledGroup]) -> Path:
    """Write groups to the record of the run whose log is in ``folder``, and return that."""
    (folder / SAMPLES).mkdir(parents=True, exist_ok=True)

    def place(of: SampledGroup) -> tuple[Any, int]:
        return of.kind, of.step

    for (kind, step), of_step in groupby(sorted(groups, key=place), key=place):
        pq.write_table(to_table(list(of_step)), sample_path(folder / SAMPLES, kind, step))
    return folder


def run(name: str, folder: Path, groups: Iterable[SampledGroup] = ()) -> Run:
    """Return a run that has kept groups and logged nothing."""
    return Run(name, (Part(write_groups(folder, groups)),), {})


def many(groups: int, tokens: int, seed: int = 0, a_step: int = 4) -> list[SampledGroup]:
    """Return trained groups like those of a run, with figures that differ from token to token."""
    draw = random.Random(seed)
    words = ["the ", "answer ", "is ", "4", "2", " so ", "we ", "add ", "them", ".\n"]

    def drawn(source: str, reward: float) -> SampledResponse:
        probabilities = [min(1.0, draw.random() ** 0.3) for _ in range(tokens)]
        return trained(draw.choices(words, k=tokens), probabilities, 1.86 * reward - 0.93, source=source, reward=reward)

    return [
        group(
            drawn("expert", 1.0),
            drawn("self", 0.0),
            step=10 * (number // a_step),
            group=number % a_step,
            prompt=f"Question {number}: what is {number} + 42?",
        )
        for number in range(groups)
    ]
