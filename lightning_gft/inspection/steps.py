"""Computes the size of a training step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain

from lightning_gft.data import Example, PromptDataModule
from lightning_gft.inspection.report import StepReport
from lightning_gft.sampler import GroupSampler
from lightning_gft.sources import ResponseSource


def plan_steps(
    stage: str, sampler: GroupSampler, data: PromptDataModule, rows: Sequence[Example], micro_batch_tokens: int
) -> StepReport:
    """Return the largest size of a stage's training step.

    Args:
        stage: Name of the stage.
        sampler: Determines the responses of a group.
        data: Determines the number of prompts of a step.
        rows: The training data, one row or more.
        micro_batch_tokens: Tokens of a micro-batch.
    """
    lengths = [(len(example.prompt_ids), _responses(sampler, example)) for example in rows]
    most = sorted(lengths, key=lambda of_row: -sum(of_row[0] + length for length in of_row[1]))[: data.batch_size]
    sequences = [prompt + length for prompt, responses in most for length in responses]
    return StepReport(
        stage,
        sources={name: _describe_source(source, bool(rows[0].stored)) for name, source in sampler.sources.items()},
        group_size=sampler.group_size,
        prompts=min(data.batch_size, len(rows)),
        sequences=len(sequences),
        tokens=sum(sequences),
        longest=max(sequences, default=0),
        micro_batches=math.ceil(sum(sequences) / micro_batch_tokens),
        steps=math.ceil(len(rows) / data.batch_size),
    )


def _responses(sampler: GroupSampler, example: Example) -> list[int]:
    """Return the greatest length of each response in a row's group, in tokens."""
    return [length for source in sampler.sources.values() for length in _lengths(source, example)]


def _lengths(source: ResponseSource, example: Example) -> list[int]:
    if longest := source.longest_response():
        return [longest] * source.num_responses
    if not (source.reads() or example.stored):  # the lengths are not known, for example those from a server
        return [0] * source.num_responses
    of_roles = chain(*(example.demonstrations.get(role, []) for role in source.reads()))
    given = of_roles if source.reads() else chain(*example.stored.values())
    return sorted((len(answer.token_ids) for answer in given), reverse=True)[: source.num_responses]


def _describe_source(source: ResponseSource, has_stored: bool) -> str:
    longest = source.longest_response()
    choice = f", of {source.most_given()}" if source.most_given() > source.num_responses else ""
    limit = f", up to {longest} tokens each" if longest else ""
    if not (longest or has_stored or source.reads()):
        limit = ", their tokens not counted"
    return f"{source.num_responses} by {type(source).__name__}{choice}, {source.source.name.lower()}{limit}"
