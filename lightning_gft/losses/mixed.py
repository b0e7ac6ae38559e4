"""Objectives that train demonstrations and own samples by different losses."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from lightning_gft.functional import Reduction
from lightning_gft.losses.base import GroupLoss
from lightning_gft.losses.composite import CompositeLoss
from lightning_gft.losses.composition import DEMONSTRATIONS, OWN, by_source, check_demonstrations, check_own_samples
from lightning_gft.types import GroupBatch, Source, TokenBatch


class MixedLoss(CompositeLoss):
    """One objective for demonstrations and another for own samples, summed with one common ``Z``.

    Figures of both are reported; names that both use are prefixed by ``demonstrations_`` and ``own_``.

    Args:
        demonstrations: Objective for responses of the expert and of teachers.
        own: Objective for own samples.
        reduction: How the sum over tokens becomes a mean; the reductions of the two losses are ignored.
        max_completion_length: Number of tokens that each response is divided by with ``reduction="constant-length"``;
            by default the largest ``max_new_tokens`` of the sources that sample.

    Example:
        >>> from lightning_gft import GFTLoss, SFTLoss
        >>> sorted(MixedLoss(SFTLoss(), GFTLoss()).needs())
        ['advantages']
    """

    def __init__(
        self,
        demonstrations: GroupLoss,
        own: GroupLoss,
        reduction: Reduction = "token-mean",
        max_completion_length: int | None = None,
    ) -> None:
        super().__init__(reduction, max_completion_length)
        self.demonstrations = demonstrations
        self.own = own

    @override
    def within(self) -> tuple[GroupLoss, ...]:
        return self.demonstrations, self.own

    @override
    def check_group(self, num_responses: int, num_own: int) -> None:
        check_demonstrations(self, num_responses, num_own)
        check_own_samples(self, num_own)
        self.demonstrations.check_group(num_responses - num_own, 0)
        self.own.check_group(num_own, num_own)

    @override
    def trains_on(self) -> frozenset[Source]:
        return (self.demonstrations.trains_on() & DEMONSTRATIONS) | (self.own.trains_on() & OWN)

    @override
    def takes_part(self, groups: GroupBatch) -> Tensor:
        return by_source(groups.source, self.demonstrations.takes_part(groups), self.own.takes_part(groups))

    @override
    def can_skip(self, groups: GroupBatch) -> Tensor:
        return by_source(groups.source, self.demonstrations.can_skip(groups), self.own.can_skip(groups))

    @override
    def coefficients(self, tokens: TokenBatch) -> Tensor:
        return by_source(tokens.source, self.demonstrations.coefficients(tokens), self.own.coefficients(tokens))

    @override
    def factors(self, tokens: TokenBatch, coefficients: Tensor) -> Tensor:
        of_loss = (loss.factors(tokens, coefficients) for loss in self.within())
        return by_source(tokens.source, *of_loss)

    @override
    def update(self, tokens: TokenBatch, coefficients: Tensor) -> None:
        own = tokens.source == Source.SELF
        self.demonstrations.update(tokens[~own], coefficients[~own])
        self.own.update(tokens[own], coefficients[own])

    @override
    def compute(self) -> dict[str, Tensor | float]:
        demonstrations, own = self.demonstrations.compute(), self.own.compute()
        return {
            f"{role}_{name}" if name in demonstrations and name in own else name: value
            for role, figures in (("demonstrations", demonstrations), ("own", own))
            for name, value in figures.items()
        }
