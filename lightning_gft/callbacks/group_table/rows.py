"""Converts batches on their device to groups for display."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lightning_gft.callbacks.group_table.choosing import Choice
from lightning_gft.callbacks.group_table.token_texts import token_texts
from lightning_gft.evaluation import Evaluated
from lightning_gft.rewards import Reward
from lightning_gft.samples import SampledGroup, SampledResponse, TokenFigures
from lightning_gft.types import GroupBatch, PromptBatch, Source, TrainedTokens

_MOST_TOKENS = 2048
"""Tokens of a response, from its beginning, whose figures are kept; bounds the disk space of long answers."""


def trained_groups(
    groups: GroupBatch,
    trained: TrainedTokens | None,
    batch: PromptBatch,
    choice: Choice,
    tokenizer: PreTrainedTokenizerBase,
    rewards: Mapping[str, Reward],
    step: int,
) -> list[SampledGroup]:
    """Return the chosen groups of a training step; only their rows are copied from the device.

    Args:
        groups: All groups of the step on this rank.
        trained: Coefficients and weights of their tokens in the step's last update.
        batch: The prompts of the groups.
        choice: The groups and responses to return.
        tokenizer: The policy's tokenizer.
        rewards: The rewards, by name, that have scored the groups.
        step: Optimizer steps taken so far.
    """
    ran = frozenset() if trained is None else frozenset(trained.tokens.sequence.unique().tolist())
    chosen = choice.rows(groups, ran)
    numbers = [row for rows in chosen for row in rows]
    figures = {} if trained is None else _token_figures(groups, trained, [n for n in numbers if n in ran], tokenizer)
    responses = dict(zip(numbers, _responses(groups, numbers, compared=True), strict=True))
    index = groups.group_index.tolist()
    sizes = torch.bincount(groups.group_index).tolist()
    first = {group: row for row, group in reversed([*enumerate(index)])}
    made = []
    for rows in chosen:
        prompt = index[rows[0]]
        made.append(
            SampledGroup(
                step=step,
                kind="train",
                dataset=batch.dataset,
                group=prompt if batch.places is None else batch.places[prompt],
                size=sizes[prompt],
                prompt=batch.prompts[prompt],
                weights=_weights(groups, rewards),
                responses=[
                    SampledResponse(number=row - first[prompt], trained=figures.get(row), **responses[row])
                    for row in rows
                ],
            )
        )
    return made


def evaluated_groups(
    evaluated: Mapping[str, Sequence[Evaluated]], choice: Choice, rewards: Mapping[str, Reward], step: int
) -> list[SampledGroup]:
    """Return the first prompts of each data set with the greedy response and the chosen samples.

    Args:
        evaluated: Evaluated batches in order, by data set; see
            :attr:`~lightning_gft.evaluation.Evaluator.evaluated`.
        choice: The prompts, and the samples of each beside the greedy response.
        rewards: The rewards, by name, that have scored the responses.
        step: Optimizer steps taken so far.
    """
    made = []
    for dataset, batches in evaluated.items():
        number = 0  # index of the batch's first prompt
        for drawn in batches:
            if number >= choice.num_groups:
                break
            rest = choice._replace(num_groups=choice.num_groups - number)
            made += _of_batch(drawn, rest, dataset, number, rewards, step)
            number += len(drawn.greedy)
    return made


def _of_batch(
    drawn: Evaluated, choice: Choice, dataset: str, number: int, rewards: Mapping[str, Reward], step: int
) -> list[SampledGroup]:
    size = len(drawn.samples) // len(drawn.greedy)
    made = []
    for position, rows in enumerate(choice.rows(drawn.samples)):
        (greedy,) = _responses(drawn.greedy, [position])
        responses = [SampledResponse(number=0, greedy=True, **greedy)]
        for row, sample in zip(rows, _responses(drawn.samples, rows), strict=True):
            responses.append(SampledResponse(number=1 + row % size, **sample))
        made.append(
            SampledGroup(
                step=step,
                kind="val",
                dataset=dataset,
                group=number + position,
                size=1 + size,
                prompt=drawn.greedy.prompts[position],
                weights=_weights(drawn.greedy, rewards),
                responses=responses,
            )
        )
    return made


def _weights(groups: GroupBatch, rewards: Mapping[str, Reward]) -> dict[str, float | None]:
    # A callback may have replaced the rewards since the groups were scored.
    return {name: float(rewards[name].weight) if name in rewards else None for name in groups.reward_parts}


def _responses(groups: GroupBatch, rows: Sequence[int], compared: bool = False) -> list[dict[str, Any]]:
    """Return the fields of some responses, by the names of :class:`~lightning_gft.samples.SampledResponse`.

    Args:
        groups: The groups, on any device.
        rows: Row numbers of the responses.
        compared: Whether the advantages compare responses within their group.
    """
    index = torch.tensor(rows, dtype=torch.long, device=groups.rewards.device)
    source, finished, lengths, reward, advantage, *parts = (
        values[index].tolist()
        for values in (
            *(groups.source, groups.finished, groups.response_lengths, groups.rewards, groups.advantages),
            *groups.reward_parts.values(),
        )
    )
    return [
        {
            "source": Source(source[n]).name.lower(),
            "completion": groups.responses[row],
            "finish_reason": _finish_reason(finished[n]),
            "completion_length": lengths[n],
            "reward": reward[n],
            "rewards": {name: _or_none(part[n]) for name, part in zip(groups.reward_parts, parts, strict=True)},
            "advantage": advantage[n] if compared else None,
        }
        for n, row in enumerate(rows)
    ]


def _finish_reason(finished: bool) -> Literal["stop", "length"]:
    return "stop" if finished else "length"


def _or_none(reward: float) -> float | None:
    return None if math.isnan(reward) else reward


def _token_figures(
    groups: GroupBatch, trained: TrainedTokens, rows: Sequence[int], tokenizer: PreTrainedTokenizerBase
) -> dict[int, TokenFigures]:
    """Return the figures of the tokens of some responses, by row; responses that were not trained on have none."""
    tokens = trained.tokens
    wanted = torch.isin(tokens.sequence, torch.tensor(rows, dtype=torch.long, device=tokens.sequence.device))
    index = (wanted & (tokens.position < _MOST_TOKENS)).nonzero().squeeze(1)
    known = [tokens.logprobs, trained.coefficients, trained.factors]
    known += [] if tokens.entropy is None else [tokens.entropy]
    values = torch.stack([each[index].float() for each in known]).cpu()
    sequence = tokens.sequence[index].cpu()
    return {
        row: TokenFigures(token_texts(tokenizer, _token_ids(groups, row)), *values[:, sequence == row].tolist())
        for row in rows
    }


def _token_ids(groups: GroupBatch, row: int) -> list[int]:
    ids: Tensor = groups.input_ids[row][groups.response_mask[row]]
    return ids[:_MOST_TOKENS].tolist()
