"""Soft-cap and scale that a head applies after its linear projection."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LinearHead:
    """What follows the output projection: ``softcap * tanh(logit_scale * (W h + b) / softcap)``.

    Args:
        softcap: Bound on the absolute logits, as in Gemma; ``None`` for no bound.
        logit_scale: Factor of the logits, as in Cohere and Granite.

    Example:
        >>> LinearHead(softcap=2.0).logits(torch.tensor([0.0, 100.0]))
        tensor([0., 2.])
    """

    softcap: float | None = None
    logit_scale: float = 1.0

    def logits(self, projected: Tensor) -> Tensor:
        """Return logits from the projection's output; for a plain head, that is the same tensor."""
        logits = projected * self.logit_scale if self.logit_scale != 1 else projected
        return self.softcap * torch.tanh(logits / self.softcap) if self.softcap else logits

    def projection_gradient(self, gradient: Tensor, logits: Tensor) -> Tensor:
        """Return the gradient of the projection's output from that of the logits."""
        if self.softcap:
            gradient = gradient * (1 - (logits / self.softcap).square())
        return gradient * self.logit_scale if self.logit_scale != 1 else gradient
