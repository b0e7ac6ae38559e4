"""Dynamic fine-tuning."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from lightning_gft.functional import Reduction
from lightning_gft.losses.base import GroupLoss
from lightning_gft.rectifiers import DynamicCoefficientRectifier
from lightning_gft.types import TokenBatch


class DFTLoss(GroupLoss):
    """Likelihood of the demonstrations, each token weighted by its own probability (arXiv 2508.05629).

    The weight hardly lets improbable tokens be learned, so it wants a larger learning rate than supervised
    fine-tuning, and negative log-likelihood may rise while the loss falls.

    Args:
        reduction: What the mean is taken over.

    Example:
        >>> DFTLoss().rectifier
        DynamicCoefficientRectifier(threshold=2.0)
    """

    uses_advantages: ClassVar[bool] = False
    demonstrations_only: ClassVar[bool] = True

    def __init__(self, reduction: Reduction = "token-mean") -> None:
        # No probability reaches 2, so that every coefficient is the probability itself.
        super().__init__(DynamicCoefficientRectifier(threshold=2.0), reduction)

    @override
    def coefficients(self, logprobs: Tensor, tokens: TokenBatch) -> Tensor:
        return self.rectifier.rectify(logprobs)
