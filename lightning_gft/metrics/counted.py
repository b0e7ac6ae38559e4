"""Groups in the form that metrics count: on the CPU, after a single transfer from the device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_gft.types import GroupBatch, Source


@dataclass(frozen=True)
class CountedGroups:
    """The counted properties of ``N`` responses, on the CPU and in double precision.

    Args:
        group: ``[N]``, number of each response's group, from 0.
        source: ``[N]``, :class:`~lightning_gft.Source` values as whole numbers.
        rewards: ``[N]``, total reward of each response.
        advantages: ``[N]``, as the estimator computed them.
        lengths: ``[N]``, numbers of response tokens.
        clipped: ``[N]``, 1 for truncated responses.
        excluded: ``[N]``, 1 for responses that no loss trains on.
        untaught: ``[N]``, 1 for responses without a teacher's log-probabilities.
        parts: ``[R, N]``, each of ``R`` rewards; NaN where it does not apply.
    """

    group: Tensor
    source: Tensor
    rewards: Tensor
    advantages: Tensor
    lengths: Tensor
    clipped: Tensor
    excluded: Tensor
    untaught: Tensor
    parts: Tensor

    @classmethod
    def of(cls, groups: GroupBatch, reward_names: list[str]) -> CountedGroups:
        """Return the counted properties of a batch, after a single transfer from its device."""
        none = torch.zeros_like(groups.source)
        untaught = none
        if groups.teacher_logprobs is not None:
            untaught = (groups.teacher_logprobs.isnan() & groups.response_mask).any(dim=1)
        columns = (
            *(groups.group_index, groups.source, groups.rewards, groups.advantages),
            *(groups.response_lengths, ~groups.finished),
            *(none if groups.excluded is None else groups.excluded, untaught),
            *(groups.reward_parts[name] for name in reward_names),
        )
        index, source, *rest = torch.stack([column.detach().double() for column in columns]).cpu()
        group = index.unique(return_inverse=True)[1]
        rewards, advantages, lengths, clipped, excluded, untaught, *parts = rest
        held = torch.stack(parts) if parts else torch.zeros(0, len(groups), dtype=torch.float64)
        return cls(group, source.long(), rewards, advantages, lengths, clipped, excluded, untaught, held)

    @property
    def sizes(self) -> Tensor:
        """``[G]``, number of responses of each group."""
        return self.group.bincount()

    @property
    def own(self) -> Tensor:
        """``[N]``, true for own samples."""
        return self.source == Source.SELF
