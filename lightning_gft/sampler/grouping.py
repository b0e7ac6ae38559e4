"""Building groups with advantages from scored responses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from lightning_gft.advantages import AdvantageEstimator
from lightning_gft.checks import shorten
from lightning_gft.errors import GFTValueError
from lightning_gft.sampler.padding import pad_rows
from lightning_gft.sampler.rounds import Round
from lightning_gft.types import GroupBatch, PromptBatch


def build_groups(
    estimator: AdvantageEstimator,
    rounds: Sequence[Round],
    prompts: PromptBatch,
    pad_token_id: int,
    device: torch.device,
    taught: bool = False,
    differing: set[int] | None = None,
    tried: int | None = None,
) -> GroupBatch:
    """Return scored responses as groups, whose advantages are estimated in one call over all of them.

    Args:
        estimator: Computes advantages from rewards.
        rounds: At least one round of scored responses.
        prompts: Prompts of the batch.
        pad_token_id: Token id that fills shorter rows on the right.
        device: Device of the returned tensors.
        taught: Whether the batch holds log-probabilities of a teacher, even if no response of this rank has any.
        differing: Indices of the prompts whose rewards differ, with dynamic sampling; other groups are excluded.
        tried: Number of prompts that were sampled, with dynamic sampling.

    Raises:
        ValueError: If an advantage is not finite.
    """
    rows = [row for of_round in rounds for row in of_round.rows]
    rewards = torch.cat([of_round.rewards for of_round in rounds])
    of_row = [row.prompt for row in rows]
    versions = [-1 if row.response.weights_version is None else row.response.weights_version for row in rows]

    def flags(values: Iterable[bool]) -> Tensor:
        return torch.tensor(list(values), dtype=torch.bool, device=device)

    groups = GroupBatch(
        **pad_rows(rows, prompts, pad_token_id, device, taught),
        group_index=torch.tensor(of_row, dtype=torch.long, device=device),
        source=torch.tensor([row.source for row in rows], dtype=torch.long, device=device),
        rewards=rewards.to(device),
        advantages=torch.full_like(rewards, torch.nan, device=device),
        finished=flags(row.response.finished for row in rows),
        reward_parts={
            name: torch.cat([of_round.parts[name] for of_round in rounds]).to(device) for name in rounds[0].parts
        },
        prompts=[prompts.prompts[i] for i in of_row],
        responses=[text for of_round in rounds for text in of_round.texts],
        answers={
            name: [answer for of_round in rounds for answer in of_round.answers[name]] for name in rounds[0].answers
        },
        weights_version=torch.tensor(versions, dtype=torch.long, device=device),
        excluded=None if differing is None else flags(i not in differing for i in of_row),
        num_tried=tried,
        sampling_seconds=sum(of_round.sampling_seconds for of_round in rounds),
        scoring_seconds=sum(of_round.scoring_seconds for of_round in rounds),
    )
    return replace(groups, advantages=_checked_advantages(estimator, groups))


def _checked_advantages(estimator: AdvantageEstimator, groups: GroupBatch) -> Tensor:
    """Return the advantages ``[N]``; raise if one is not finite, because it would spoil every later update."""
    advantages: Any = estimator(groups)
    is_right = isinstance(advantages, Tensor) and advantages.shape == groups.rewards.shape
    if not (is_right and advantages.isfinite().all()):
        raise GFTValueError(
            f"`advantage`: expected {len(groups)} finite advantages from {type(estimator).__name__}, got "
            f"{shorten(advantages)}; return a tensor [{len(groups)}]"
        )
    return cast(Tensor, advantages)
