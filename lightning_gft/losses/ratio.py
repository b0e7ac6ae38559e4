"""Objectives with the ratio of probabilities between the policy now and the one that drew the samples."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor
from typing_extensions import override

from lightning_gft.functional import Reduction
from lightning_gft.functional.logprobs import bounded_ratio, log_ratio
from lightning_gft.losses.base import GroupLoss
from lightning_gft.losses.composition import check_own_samples
from lightning_gft.metrics import RatioStatistics
from lightning_gft.types import GroupBatch, Need, Source, TokenBatch


class RatioLoss(GroupLoss):
    """A policy gradient on the policy's own samples, which limits the ratio ``r`` in some way.

    Args:
        shares: Names of the figures that :meth:`clipped` gives masks for.
        reduction: What the mean is taken over.
        max_completion_length: Divides each response with ``reduction="constant-length"``.
        mask_truncated_completions: Neither train on own samples that did not end before their limit, nor count them.
    """

    def __init__(
        self,
        shares: Sequence[str],
        reduction: Reduction,
        max_completion_length: int | None = None,
        mask_truncated_completions: bool = False,
    ) -> None:
        super().__init__(reduction, max_completion_length)
        self.mask_truncated_completions = mask_truncated_completions
        self.statistics = RatioStatistics(shares)

    @abstractmethod
    def clipped(self, tokens: TokenBatch) -> tuple[Tensor, ...]:
        """Return masks ``[m]``, whose shares are reported."""

    def logratio(self, tokens: TokenBatch) -> Tensor:
        """Return ``log r``, ``[m]``."""
        return log_ratio(tokens.logprobs, tokens.old_logprobs)

    def ratio(self, tokens: TokenBatch) -> Tensor:
        """Return ``r``, ``[m]``."""
        return bounded_ratio(self.logratio(tokens))

    @override
    def check_group(self, num_responses: int, num_own: int) -> None:
        check_own_samples(self, num_own)

    @override
    def takes_part(self, groups: GroupBatch) -> Tensor:
        own = groups.source == Source.SELF
        return own & groups.finished if self.mask_truncated_completions else own

    @override
    def can_skip(self, groups: GroupBatch) -> Tensor:
        return groups.advantages == 0

    @override
    def needs(self) -> frozenset[Need]:
        return frozenset({"advantages", "old_logprobs"})

    @override
    def update(self, tokens: TokenBatch, coefficients: Tensor) -> None:
        self.statistics.update(self.logratio(tokens), *self.clipped(tokens))

    @override
    def compute(self) -> dict[str, Tensor | float]:
        return dict(self.statistics.compute())

    @override
    def reset(self) -> None:
        self.statistics.reset()
