"""Scores stored groups with a sampler's rewards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from lightning_gft.data.errors import row_name
from lightning_gft.errors import GFTValueError
from lightning_gft.sampler import GroupSampler, Round, Row, build_groups, find_unfit
from lightning_gft.stored import StoredGroup, StoredResponse
from lightning_gft.types import GroupBatch, PromptBatch, Response, Source


def check_groups(sampler: GroupSampler, groups: Sequence[StoredGroup]) -> None:
    """Raise an error for groups that a reward cannot score, before any group is scored.

    Args:
        sampler: The sampler with the rewards.
        groups: The stored groups.

    Raises:
        ValueError: If a reward cannot score a group, with the reward and the row of the first such group.
    """
    references, columns = [group.reference for group in groups], [group.columns for group in groups]
    for position, message, error in find_unfit(sampler.rewards, references, columns):
        group = groups[position]
        raise GFTValueError(f"stored groups, {row_name(group.row or group.place)}: {message}") from error


def rescore_groups(sampler: GroupSampler, groups: Sequence[StoredGroup]) -> list[StoredGroup]:
    """Return the groups of one batch with the rewards and advantages that a sampler gives them now.

    Token ids, texts and log-probabilities stay unchanged. All stored responses are kept, as no source chooses again.

    Args:
        sampler: The sampler with the rewards, their total and the advantage.
        groups: The groups that one rank sampled together; an advantage may compare them over the batch.

    Raises:
        RewardError: If a reward fails.
    """
    given = [(n, response) for n, group in enumerate(groups) for response in group.responses]
    if not given:
        return [*groups]
    prompts = _prompts(groups)
    scored = sampler.score(
        prompts,
        [_row(n, response) for n, response in given],
        [response.completion for _, response in given],
        [response.raw_completion for _, response in given],
    )
    batch = build_groups(sampler.advantage, [scored], prompts, pad_token_id=0, device=torch.device("cpu"))
    new = iter(_replaced([response for _, response in given], scored, batch))
    return [
        replace(group, responses=[next(new) for _ in group.responses], scoring_seconds=scored.scoring_seconds)
        for group in groups
    ]


def _prompts(groups: Sequence[StoredGroup]) -> PromptBatch:
    names = dict.fromkeys(name for group in groups for name in group.columns)
    return PromptBatch(
        prompt_ids=[group.prompt_token_ids for group in groups],
        prompts=[group.prompt for group in groups],
        references=[group.reference for group in groups],
        columns={name: [group.columns.get(name) for group in groups] for name in names},
        messages=[group.messages for group in groups],
    )


def _row(prompt: int, response: StoredResponse) -> Row:
    source = Source[response.source.upper()]
    return Row(prompt, response.source, source, Response(response.token_ids, response.finished, response.logprobs))


def _replaced(responses: Sequence[StoredResponse], scored: Round, batch: GroupBatch) -> list[StoredResponse]:
    parts = {name: part.tolist() for name, part in scored.parts.items()}
    return [
        replace(
            response,
            reward=reward,
            advantage=advantage,
            rewards={name: None if math.isnan(part[n]) else part[n] for name, part in parts.items()},
        )
        for n, (response, reward, advantage) in enumerate(
            zip(responses, scored.rewards.tolist(), batch.advantages.tolist(), strict=True)
        )
    ]
