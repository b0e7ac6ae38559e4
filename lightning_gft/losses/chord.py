"""A sum of supervised fine-tuning and policy gradients, whose weights may change during training."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from lightning_gft.annealing import Annealing
from lightning_gft.functional import Reduction
from lightning_gft.losses.annealed import Annealed
from lightning_gft.losses.base import GroupLoss
from lightning_gft.losses.composition import by_source
from lightning_gft.losses.grpo import GRPOLoss
from lightning_gft.losses.mixed import MixedLoss
from lightning_gft.losses.sft import SFTLoss
from lightning_gft.types import GroupBatch, Source, TokenBatch

_PAPER = Annealing(start=0.9, end=0.05, num_steps=200, shape="cosine")


class CHORDLoss(MixedLoss):
    """CHORD-mu (arXiv 2508.11408): ``(1 - mu) * GRPO + mu * SFT``, each averaged over its own tokens.

    The coefficients are ``mu`` on demonstrations and ``(1 - mu)`` times GRPO's on own samples. In the paper advantages
    compare own samples only: choose an advantage estimator that does so. ``mu`` of the last update is reported, and
    checkpoints hold the position in its schedule.

    Args:
        mu: A number from 0 to 1, or an :class:`~lightning_gft.Annealing`. The default is the paper's: from 0.9 to 0.05
            in 200 steps.
        own: Objective for own samples; default :class:`~lightning_gft.GRPOLoss`.
        reduction: How each of the two sums becomes a mean; the reduction of ``own`` is ignored.
        max_completion_length: Number of tokens that each response is divided by with ``reduction="constant-length"``;
            by default the largest ``max_new_tokens`` of the sources that sample.

    Raises:
        ValueError: If ``mu`` is not between 0 and 1.

    Example:
        >>> CHORDLoss(mu=Annealing(start=0.5, end=0.02, num_steps=400)).mu.now
        0.5
    """

    def __init__(
        self,
        mu: float | Annealing = _PAPER,
        own: GroupLoss | None = None,
        reduction: Reduction = "token-mean",
        max_completion_length: int | None = None,
    ) -> None:
        super().__init__(SFTLoss(), own or GRPOLoss(), reduction, max_completion_length)
        self.mu = Annealed("mu", mu, of=type(self).__name__, least=0, most=1)

    @override
    def shares(self, groups: GroupBatch) -> list[Tensor]:
        own = groups.source == Source.SELF
        return [~own, own]

    @override
    def coefficients(self, tokens: TokenBatch) -> Tensor:
        coefficients, mu = super().coefficients(tokens), self.mu.now
        return by_source(tokens.source, mu * coefficients, (1 - mu) * coefficients)

    @override
    def factors(self, tokens: TokenBatch, coefficients: Tensor) -> Tensor:
        # mu is left out: it weights the two means against each other, not the tokens within one of them.
        return super().factors(tokens, super().coefficients(tokens))

    @override
    def update(self, tokens: TokenBatch, coefficients: Tensor) -> None:
        super().update(tokens, super().coefficients(tokens))  # without mu

    @override
    def step(self) -> None:
        super().step()
        self.mu.step()

    @override
    def compute(self) -> dict[str, Tensor | float]:
        return {**super().compute(), "mu": self.mu.num_steps.new_tensor(self.mu.last, dtype=torch.float64)}
