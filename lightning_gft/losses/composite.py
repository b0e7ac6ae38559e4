"""Objectives that combine other objectives."""

from __future__ import annotations

from abc import abstractmethod

from typing_extensions import override

from lightning_gft.losses.base import GroupLoss
from lightning_gft.parts import CompositePart
from lightning_gft.types import GroupBatch, Need


class CompositeLoss(CompositePart, GroupLoss):
    """An objective that forwards checks, counts and steps to the losses that it consists of."""

    @abstractmethod
    def within(self) -> tuple[GroupLoss, ...]:
        """Return the losses that this one consists of."""

    @override
    def needs(self) -> frozenset[Need]:
        return frozenset[Need]().union(*(loss.needs() for loss in self.within()))

    @override
    def check_group(self, num_responses: int, num_own: int) -> None:
        for loss in self.within():
            loss.check_group(num_responses, num_own)

    @override
    def update_groups(self, groups: GroupBatch) -> None:
        for loss in self.within():
            loss.update_groups(groups)

    @override
    def step(self) -> None:
        for loss in self.within():
            loss.step()
