"""Groups as they are counted: on the CPU, where a device is waited for once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_gft.types import GroupBatch, Source


@dataclass(frozen=True)
class CountedGroups:
    """What is counted of ``N`` responses, on the CPU and in double precision.

    Args:
        group: ``[N]``, the number of its group, from 0.
        source: ``[N]``, a :class:`~lightning_gft.Source` value.
        rewards: ``[N]``.
        advantages: ``[N]``.
        lengths: ``[N]``, response tokens.
        clipped: ``[N]``, 1 where a response did not end before the length limit.
        set_aside: ``[N]``, 1 where no loss trains on it.
        untaught: ``[N]``, 1 where a teacher did not judge it.
        parts: ``[R, N]``, each reward; NaN where it does not apply.
    """

    group: Tensor
    source: Tensor
    rewards: Tensor
    advantages: Tensor
    lengths: Tensor
    clipped: Tensor
    set_aside: Tensor
    untaught: Tensor
    parts: Tensor

    @classmethod
    def of(cls, groups: GroupBatch, reward_names: list[str]) -> CountedGroups:
        """Return what is counted of a batch, by one transfer."""
        none = torch.zeros_like(groups.source)
        untaught = none
        if groups.teacher_logprobs is not None:
            untaught = (groups.teacher_logprobs.isnan() & groups.response_mask).any(dim=1)
        columns = (
            *(groups.group_index, groups.source, groups.rewards, groups.advantages),
            *(groups.response_lengths, ~groups.finished),
            *(none if groups.set_aside is None else groups.set_aside, untaught),
            *(groups.reward_parts[name] for name in reward_names),
        )
        index, source, *rest = torch.stack([column.detach().double() for column in columns]).cpu()
        group = index.unique(return_inverse=True)[1]
        rewards, advantages, lengths, clipped, set_aside, untaught, *parts = rest
        held = torch.stack(parts) if parts else torch.zeros(0, len(groups), dtype=torch.float64)
        return cls(group, source.long(), rewards, advantages, lengths, clipped, set_aside, untaught, held)

    @property
    def sizes(self) -> Tensor:
        """Number of responses of each group."""
        return self.group.bincount()

    @property
    def own(self) -> Tensor:
        """``[N]``, true for the policy's own samples."""
        return self.source == Source.SELF
