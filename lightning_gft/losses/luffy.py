"""Off-policy learning from demonstrations combined with on-policy learning from own samples (LUFFY)."""

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

    The coefficients are ``A * gamma * p / (p + gamma) ** 2`` and ``A * p / p_old``. As in the released code, ratios of
    own samples are not clipped, responses are divided by a constant, and advantages compare the whole mixed group
    without the standard deviation: ``GroupNormalizedAdvantage(scale="none")``. ``own=GRPOLoss()`` adds GRPO's clipping.
    The paper's entropy bonus, 0.001, is left out, because it is not a coefficient of the sampled tokens.

    Args:
        gamma: Shape of the demonstrations' coefficients, which are largest at ``p = gamma``.
        own: Objective for own samples; default: ``A * r`` without clipping.
        reduction: How the sum over tokens becomes a mean; the reduction of ``own`` is ignored.
        max_completion_length: Number of tokens that each response is divided by; by default the largest
            ``max_new_tokens`` of the sources that sample.

    Raises:
        ValueError: If ``gamma`` is not above 0, or ``reduction`` does not fit ``max_completion_length``.

    Example:
        >>> sorted(LUFFYLoss().needs())
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
    """The factor of the gradient of ``p / (p + gamma)`` relative to that of ``log p``."""

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
