"""Objectives that treat demonstrations and own samples apart."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from lightning_gft.functional import Reduction
from lightning_gft.losses.base import GroupLoss
from lightning_gft.losses.composite import CompositeLoss
from lightning_gft.types import GroupBatch, Source, TokenBatch


class MixedLoss(CompositeLoss):
    """One objective for demonstrations and another for the policy's own samples, added up under one ``Z``.

    Figures of both are reported; where both have one of the same name, these begin with ``demonstrations_`` and
    ``own_``.

    Args:
        demonstrations: For expert and teacher.
        own: For own samples.
        reduction: What the mean is taken over; those of the two losses play no part.
        max_completion_length: Divides each response with ``reduction="constant-length"``.

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
    def takes_part(self, groups: GroupBatch) -> Tensor:
        return self._by_source(groups.source, self.demonstrations.takes_part(groups), self.own.takes_part(groups))

    @override
    def can_skip(self, groups: GroupBatch) -> Tensor:
        return self._by_source(groups.source, self.demonstrations.can_skip(groups), self.own.can_skip(groups))

    @override
    def coefficients(self, tokens: TokenBatch) -> Tensor:
        return self._by_source(tokens.source, self.demonstrations.coefficients(tokens), self.own.coefficients(tokens))

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

    @staticmethod
    def _by_source(source: Tensor, demonstrations: Tensor, own: Tensor) -> Tensor:
        return torch.where(source == Source.SELF, own, demonstrations)
