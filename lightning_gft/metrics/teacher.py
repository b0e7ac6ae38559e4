"""Statistics of how far the policy is from a teacher."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_gft.metrics.base import ExactMetric


class TeacherStatistics(ExactMetric):
    r"""Divergence from a teacher on the policy's own samples, and the share of tokens whose ratio was clipped.

    As input to ``update``, all ``[m]`` (:class:`~torch.Tensor`):

    - ``divergence``: :math:`l - l_T` of the trained tokens
    - ``clipped``: booleans

    As output of ``compute``, scalars over all tokens since the last ``reset`` and over all ranks:

    - ``teacher_kl``: mean of :math:`l - l_T`, an estimate of :math:`KL(\pi \| T)` that may be below 0
    - ``clip_ratio/high_mean``: share of tokens that were clipped

    Args:
        kwargs: Passed on to :class:`torchmetrics.Metric`.

    Example:
        >>> statistics = TeacherStatistics()
        >>> statistics.update(torch.tensor([1.0, 0.0]), torch.tensor([False, False]))
        >>> statistics.compute()["teacher_kl"]
        tensor(0.5000, dtype=torch.float64)
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    num_tokens: Tensor
    num_clipped: Tensor
    kl_sum: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("num_tokens", "num_clipped"):
            self.add_state(name, torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("kl_sum", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, divergence: Tensor, clipped: Tensor) -> None:
        """Count tokens."""
        self.num_tokens += len(divergence)
        self.num_clipped += clipped.sum()
        self.kl_sum += divergence.detach().double().sum()

    def compute(self) -> dict[str, Tensor]:
        """Return the statistics described above; all are 0 before any token was counted."""
        tokens = self.num_tokens.clamp(min=1)
        return {"teacher_kl": self.kl_sum / tokens, "clip_ratio/high_mean": self.num_clipped / tokens}
