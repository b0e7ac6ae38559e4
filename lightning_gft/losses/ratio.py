"""The base class of objectives with a ratio: the probability now, divided by that before the first update."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor
from typing_extensions import override

from lightning_gft.functional import Reduction
from lightning_gft.functional.logprobs import bounded_ratio, log_ratio
from lightning_gft.losses.base import GroupLoss
from lightning_gft.losses.composition import OWN, check_own_samples
from lightning_gft.metrics import RatioStatistics
from lightning_gft.types import GroupBatch, Need, Source, TokenBatch


class RatioLoss(GroupLoss):
    """A policy gradient on own samples that limits the ratio ``r``; subclasses differ in how they limit it.

    Args:
        shares: Names of the figures, one for each mask that :meth:`clipped` returns.
        reduction: How the sum over tokens becomes a mean, see :class:`~lightning_gft.GroupLoss`.
        max_completion_length: Number of tokens that each response is divided by with ``reduction="constant-length"``;
            by default the largest ``max_new_tokens`` of the sources that sample.
        mask_truncated_completions: Exclude truncated own samples from the loss and from ``Z``.
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
        """Return masks ``[m]`` of clipped tokens; the share of each is a figure."""

    def logratio(self, tokens: TokenBatch) -> Tensor:
        """Return the log-ratios ``log r``, ``[m]``."""
        return log_ratio(tokens.logprobs, tokens.old_logprobs)

    def ratio(self, tokens: TokenBatch) -> Tensor:
        """Return the ratios ``r``, ``[m]``, bounded so that they stay finite."""
        return bounded_ratio(self.logratio(tokens))

    @override
    def check_group(self, num_responses: int, num_own: int) -> None:
        check_own_samples(self, num_own)

    @override
    def trains_on(self) -> frozenset[Source]:
        return OWN

    @override
    def takes_part(self, groups: GroupBatch) -> Tensor:
        taken = super().takes_part(groups)
        if not self.mask_truncated_completions:
            return taken
        return taken & ((groups.source != Source.SELF) | groups.finished)

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
