"""What a step of training will run."""

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
    """Return what a step of a stage will run at most.

    Args:
        stage: Its name.
        sampler: Says what a group is.
        data: Says how many prompts a step has.
        rows: The training data.
        micro_batch_tokens: Tokens that run at once.
    """
    lengths = [(len(example.prompt_ids), _responses(sampler, example)) for example in rows]
    most = sorted(lengths, key=lambda of_row: -sum(of_row[0] + length for length in of_row[1]))[: data.batch_size]
    sequences = [prompt + length for prompt, responses in most for length in responses]
    return StepReport(
        stage,
        sources={name: _words(source) for name, source in sampler.sources.items()},
        group_size=sampler.group_size,
        prompts=min(data.batch_size, len(rows)),
        sequences=len(sequences),
        tokens=sum(sequences),
        longest=max(sequences, default=0),
        micro_batches=math.ceil(sum(sequences) / micro_batch_tokens),
        steps=math.ceil(len(rows) / data.batch_size),
    )


def _responses(sampler: GroupSampler, example: Example) -> list[int]:
    """Return the most tokens that each response of a row's group can have."""
    lengths: list[int] = []
    for source in sampler.sources.values():
        own = source.longest_response()
        answers = example.demonstrations.get(source.source.name.lower()) or chain(*example.stored.values())
        given = [len(answer.token_ids) for answer in answers]
        lengths += [own] * source.num_responses if own else sorted(given, reverse=True)[: source.num_responses]
    return lengths


def _words(source: ResponseSource) -> str:
    longest = source.longest_response()
    choice = f", of {source.most_given()}" if source.most_given() > source.num_responses else ""
    limit = f", up to {longest} tokens each" if longest else ""
    return f"{source.num_responses} by {type(source).__name__}{choice}, {source.source.name.lower()}{limit}"
