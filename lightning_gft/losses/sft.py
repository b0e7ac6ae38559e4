"""Supervised fine-tuning."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from lightning_gft.functional import Reduction
from lightning_gft.losses.base import GroupLoss
from lightning_gft.rectifiers import IdentityRectifier
from lightning_gft.types import TokenBatch


class SFTLoss(GroupLoss):
    """Maximum likelihood of the demonstrations; rewards and the policy's own samples take no part.

    Args:
        reduction: What the mean is taken over.

    Example:
        >>> SFTLoss().rectifier
        IdentityRectifier()
    """

    uses_advantages: ClassVar[bool] = False
    demonstrations_only: ClassVar[bool] = True

    def __init__(self, reduction: Reduction = "token-mean") -> None:
        super().__init__(IdentityRectifier(), reduction)

    @override
    def coefficients(self, logprobs: Tensor, tokens: TokenBatch) -> Tensor:
        return self.rectifier.rectify(logprobs)
