"""An objective that wraps another one."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor
from typing_extensions import override

from lightning_gft.losses.base import GroupLoss
from lightning_gft.losses.composite import CompositeLoss
from lightning_gft.types import GroupBatch, Source, TokenBatch


class LossWrapper(CompositeLoss):
    """Delegates to another loss whatever it does not override; a subclass implements :meth:`coefficients`.

    A subclass that changes coefficients of 0 overrides :meth:`can_skip`, too.

    Args:
        loss: The wrapped objective, which also determines the reduction.

    Example:
        >>> from lightning_gft import GFTLoss
        >>> class Halved(LossWrapper):
        ...     def coefficients(self, tokens):
        ...         return 0.5 * self.loss.coefficients(tokens)
        >>> sorted(Halved(GFTLoss()).needs())
        ['advantages']
    """

    def __init__(self, loss: GroupLoss) -> None:
        super().__init__(loss.reduction, loss.max_completion_length)
        self.loss = loss

    @override
    def within(self) -> tuple[GroupLoss, ...]:
        return (self.loss,)

    @override
    def trains_on(self) -> frozenset[Source]:
        return self.loss.trains_on()

    @override
    def takes_part(self, groups: GroupBatch) -> Tensor:
        return self.loss.takes_part(groups)

    @override
    def can_skip(self, groups: GroupBatch) -> Tensor:
        return self.loss.can_skip(groups)

    @override
    def shares(self, groups: GroupBatch) -> list[Tensor]:
        return self.loss.shares(groups)

    @override
    def reduce(self, groups: GroupBatch) -> tuple[Tensor, Tensor]:
        # The wrapped loss reduces by its own rule, but over the sequences that take part here.
        return self.loss.reduce(replace(groups, excluded=~self._taken(groups)))

    @override
    def normalize(self, groups: GroupBatch, weights: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        return self.loss.normalize(groups, weights, counts)

    @override
    def factors(self, tokens: TokenBatch, coefficients: Tensor) -> Tensor:
        return self.loss.factors(tokens, coefficients)

    @override
    def update(self, tokens: TokenBatch, coefficients: Tensor) -> None:
        self.loss.update(tokens, self.loss.coefficients(tokens))  # its own coefficients, before this class changes them

    @override
    def compute(self) -> dict[str, Tensor | float]:
        return self.loss.compute()
