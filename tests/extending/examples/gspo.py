"""GSPO (arXiv 2507.18071): GRPO with one ratio a response."""

from grpo import GRPOLoss
from torch import Tensor

from lightning_gft import TokenBatch


class GSPOLoss(GRPOLoss):
    """Clips whole responses, by the geometric mean of their tokens' ratios.

    Args:
        clip_low: How far below 1 the ratio may fall.
        clip_high: How far above 1 it may rise.
    """

    def __init__(self, clip_low: float = 3e-4, clip_high: float = 4e-4) -> None:
        super().__init__(clip_low, clip_high, reduction="sequence-mean")

    def needs(self) -> frozenset[str]:
        return frozenset({"advantages", "sequence_logratio"})

    def logratio(self, tokens: TokenBatch) -> Tensor:
        return tokens.sequence_logratio
