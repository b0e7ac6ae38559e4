"""Dynamic fine-tuning."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from lightning_gft.losses.imitation import ImitationLoss
from lightning_gft.types import TokenBatch


class DFTLoss(ImitationLoss):
    """Likelihood of the demonstrations, each token weighted by its own probability (arXiv 2508.05629).

    The weight hardly lets improbable tokens be learned, so it wants a larger learning rate than supervised
    fine-tuning, and negative log-likelihood may rise while the loss falls.

    Args:
        reduction: What the mean is taken over.

    Example:
        >>> DFTLoss(reduction="token-mean").needs()
        frozenset()
    """

    @override
    def coefficients(self, tokens: TokenBatch) -> Tensor:
        return tokens.logprobs.exp()
