"""Converting a sampled batch to stored groups."""

from __future__ import annotations

import math
from collections.abc import Callable

from lightning_gft.stored.schema import StoredGroup, StoredResponse
from lightning_gft.types import GroupBatch, PromptBatch, Source


def stored_groups(
    groups: GroupBatch, prompts: PromptBatch, decode_raw: Callable[[list[int]], str], step: int
) -> list[StoredGroup]:
    """Return the groups of a batch in their stored form.

    Args:
        groups: The sampled groups, on any device.
        prompts: The prompts that they were sampled for.
        decode_raw: Returns the text of a response with special tokens, except those that end it.
        step: Number of the batch.
    """
    responses = _responses(groups.to("cpu"), decode_raw)
    of_prompt: list[list[StoredResponse]] = [[] for _ in range(len(prompts))]
    for prompt, response in zip(groups.group_index.tolist(), responses, strict=True):
        of_prompt[prompt].append(response)
    places = range(len(prompts)) if prompts.places is None else prompts.places
    return [
        StoredGroup(
            step=step,
            place=places[i],
            row=str(prompts.rows[i]) if prompts.rows else None,
            prompt=prompts.prompts[i],
            prompt_token_ids=prompts.prompt_ids[i],
            reference=prompts.references[i],
            messages=prompts.messages[i] if prompts.messages else [],
            columns={name: values[i] for name, values in prompts.columns.items()},
            responses=of_prompt[i],
            sampling_seconds=groups.sampling_seconds,
            scoring_seconds=groups.scoring_seconds,
        )
        for i in range(len(prompts))
    ]


def _responses(groups: GroupBatch, decode_raw: Callable[[list[int]], str]) -> list[StoredResponse]:
    token_ids = [ids[mask].tolist() for ids, mask in zip(groups.input_ids, groups.response_mask, strict=True)]
    logprobs: list[list[float] | None] = [None] * len(groups)
    if groups.sampling_logprobs is not None:
        of_row = zip(groups.sampling_logprobs, groups.response_mask, strict=True)
        logprobs = [None if values[mask].isnan().any() else values[mask].tolist() for values, mask in of_row]
    parts = {name: part.tolist() for name, part in groups.reward_parts.items()}
    return [
        StoredResponse(
            source=Source(source).name.lower(),
            completion=groups.responses[n],
            raw_completion=decode_raw(token_ids[n]),
            token_ids=token_ids[n],
            finished=finished,
            reward=reward,
            rewards={name: None if math.isnan(part[n]) else part[n] for name, part in parts.items()},
            advantage=advantage,
            logprobs=logprobs[n],
        )
        for n, (source, finished, reward, advantage) in enumerate(
            zip(
                *(field.tolist() for field in (groups.source, groups.finished, groups.rewards, groups.advantages)),
                strict=True,
            )
        )
    ]
