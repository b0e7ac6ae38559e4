"""Group relative policy optimization (GRPO), and its variants with clip-higher and other normalisers."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from typing_extensions import override

from lightning_gft.checks import check_number
from lightning_gft.functional import Reduction
from lightning_gft.losses.ratio import RatioLoss
from lightning_gft.types import TokenBatch


class GRPOLoss(RatioLoss):
    """GRPO (arXiv 2402.03300): maximises ``min(r * A, clip(r, 1 - epsilon, 1 + epsilon_high) * A)``, ``r = p / p_old``.

    The coefficient is ``A * r``, and 0 where the ratio is clipped. Only own samples are trained on. In the first update
    on a batch all ratios are 1, so clipping takes effect only with ``updates_per_batch`` above 1. Published variants:

    * DAPO (2503.14476): ``epsilon_high=0.28, reduction="token-mean"``
    * Dr. GRPO (2503.20783): ``reduction="constant-length"``, and advantages without the standard deviation

    The figures are ``ratio_mean``, ``ratio_max`` and three shares of trained tokens: ``clip_ratio/low_mean`` (clipped
    below), ``clip_ratio/high_mean`` (clipped above) and ``clip_ratio/region_mean`` (clipped at all, including by
    ``delta``).

    Args:
        epsilon: Distance that the ratio may fall below 1 where the advantage is negative.
        epsilon_high: Distance that it may rise above 1 where the advantage is positive; default: ``epsilon``.
        delta: Largest ratio where the advantage is negative; it must be above ``1 + epsilon_high`` (two-sided clipping,
            2505.07291). By default there is no limit.
        reduction: How the sum over tokens becomes a mean; GRPO takes it over responses.
        max_completion_length: Number of tokens that each response is divided by with ``reduction="constant-length"``;
            by default the largest ``max_new_tokens`` of the sources that sample.
        mask_truncated_completions: Exclude truncated own samples from the loss and from ``Z``.

    Raises:
        ValueError: If a number is outside its range.

    Example:
        >>> sorted(GRPOLoss(epsilon_high=0.28, reduction="token-mean").needs())
        ['advantages', 'old_logprobs']
    """

    def __init__(
        self,
        epsilon: float = 0.2,
        epsilon_high: float | None = None,
        delta: float | None = None,
        reduction: Reduction = "sequence-mean",
        max_completion_length: int | None = None,
        mask_truncated_completions: bool = False,
    ) -> None:
        shares = [f"clip_ratio/{side}_mean" for side in ("low", "high", "region")]
        super().__init__(shares, reduction, max_completion_length, mask_truncated_completions)
        name = type(self).__name__
        self.epsilon = check_number("epsilon", epsilon, least=0, of=name)
        self.epsilon_high = self.epsilon if epsilon_high is None else epsilon_high
        self.epsilon_high = check_number("epsilon_high", self.epsilon_high, least=0, of=name, otherwise="null")
        self.delta = math.inf if delta is None else delta
        if delta is not None:
            self.delta = check_number("delta", delta, above=1 + self.epsilon_high, of=name, otherwise="null")

    def advantages(self, tokens: TokenBatch) -> Tensor:
        """Return the advantages ``A``, ``[m]``, which a subclass may replace."""
        return tokens.advantages

    @override
    def coefficients(self, tokens: TokenBatch) -> Tensor:
        *_, clipped = self.clipped(tokens)
        return torch.where(clipped, 0.0, self.advantages(tokens) * self.ratio(tokens))

    @override
    def clipped(self, tokens: TokenBatch) -> tuple[Tensor, ...]:
        ratio, advantages = self.ratio(tokens), self.advantages(tokens)
        low = (ratio < 1 - self.epsilon) & (advantages < 0)
        high = (ratio > 1 + self.epsilon_high) & (advantages > 0)
        return low, high, low | high | ((ratio > self.delta) & (advantages < 0))
