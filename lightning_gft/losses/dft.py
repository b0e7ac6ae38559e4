"""Dynamic fine-tuning (DFT)."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from lightning_gft.checks import check_number
from lightning_gft.functional import Reduction
from lightning_gft.losses.imitation import ImitationLoss
from lightning_gft.types import TokenBatch


class DFTLoss(ImitationLoss):
    """Likelihood of the demonstrations, each token weighted by its own probability (arXiv 2508.05629).

    The coefficient is ``max(p, floor)``. Without a floor, improbable tokens are hardly learned: DFT requires a larger
    learning rate than supervised fine-tuning, and the negative log-likelihood may rise while the loss falls.

    Args:
        reduction: How the sum over tokens becomes a mean, see :class:`~lightning_gft.GroupLoss`.
        floor: Smallest factor. The paper uses 0; its authors recommend 0.1 if tokens are not learned; 1 gives SFT.

    Raises:
        ValueError: If ``floor`` is not between 0 and 1.

    Example:
        >>> DFTLoss(floor=0.1).floor
        0.1
    """

    def __init__(self, reduction: Reduction = "token-mean", floor: float = 0.0) -> None:
        super().__init__(reduction)
        self.floor = check_number("floor", floor, least=0, most=1, of=type(self).__name__)

    @override
    def coefficients(self, tokens: TokenBatch) -> Tensor:
        return tokens.logprobs.exp().clamp(min=self.floor)
