"""Learning from demonstrations off the policy, beside own samples."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from typing_extensions import override

from lightning_gft.checks import check_number
from lightning_gft.functional import Reduction
from lightning_gft.losses.base import GroupLoss
from lightning_gft.losses.gft import GFTLoss
from lightning_gft.losses.mixed import MixedLoss
from lightning_gft.losses.ratio import RatioLoss
from lightning_gft.rectifiers import CoefficientRectifier
from lightning_gft.types import TokenBatch


class LUFFYLoss(MixedLoss):
    """LUFFY (arXiv 2504.14945): maximises ``A * p / (p + gamma)`` on demonstrations and ``A * r`` on own samples.

    The coefficients are ``A * gamma * p / (p + gamma) ** 2`` and ``A * p / p_old``. As released, own samples are not
    clipped, responses are divided by a constant, and advantages compare the whole mixed group without the standard
    deviation: ``GroupNormalizedAdvantage(scale="none")``. The form with GRPO's clip is ``own=GRPOLoss()``. The paper's
    entropy bonus, 0.001, is no coefficient of the tokens that were drawn and is left out.

    Args:
        gamma: Shapes the demonstrations' weights, which are largest at ``p = gamma``.
        own: Objective on own samples; default: ``A * r`` without a clip.
        reduction: What the mean is taken over; those of ``own`` play no part.
        max_completion_length: What responses are divided by, in tokens.

    Raises:
        ValueError: If ``gamma`` is not above 0, or the length is missing.

    Example:
        >>> sorted(LUFFYLoss(max_completion_length=2048).needs())
        ['advantages', 'old_logprobs']
    """

    def __init__(
        self,
        gamma: float = 0.1,
        own: GroupLoss | None = None,
        reduction: Reduction = "constant-length",
        max_completion_length: int | None = None,
    ) -> None:
        gamma = check_number("gamma", gamma, above=0, of=type(self).__name__)
        own = own or _Unclipped([], reduction="token-mean")
        super().__init__(GFTLoss(_Shaping(gamma), rectify="all"), own, reduction, max_completion_length)
        self.gamma = gamma


class _Shaping(CoefficientRectifier):
    """What ``p / (p + gamma)`` makes of a likelihood's gradient."""

    def __init__(self, gamma: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gamma = gamma

    @override
    def rectify(self, logprobs: Tensor) -> Tensor:
        p = logprobs.detach().exp()
        return self.gamma * p / (p + self.gamma) ** 2


class _Unclipped(RatioLoss):
    @override
    def coefficients(self, tokens: TokenBatch) -> Tensor:
        return tokens.advantages * self.ratio(tokens)

    @override
    def clipped(self, tokens: TokenBatch) -> tuple[Tensor, ...]:
        return ()
