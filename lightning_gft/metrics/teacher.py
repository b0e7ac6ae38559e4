"""Statistics of the divergence from a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from lightning_gft.metrics.ratio import RatioStatistics


class TeacherStatistics(RatioStatistics):
    r"""Divergence from a teacher on own samples, in addition to the figures of :class:`RatioStatistics`.

    As additional input to ``update``:

    - ``difference`` (:class:`~torch.Tensor`): ``[m]``, :math:`l_T - l` of the trained tokens

    As additional output of ``compute``:

    - ``teacher_kl``: mean of :math:`l - l_T`, an estimate of :math:`KL(\pi \| T)` in nats, which may be negative

    Args:
        shares: Names of the figures of the masks, such as ``"clip_ratio/high_mean"``.
        kwargs: Passed on to :class:`torchmetrics.Metric`.

    Example:
        >>> statistics = TeacherStatistics()
        >>> statistics.update(torch.zeros(2), difference=torch.tensor([-1.0, 0.0]))
        >>> statistics.compute()["teacher_kl"]
        tensor(0.5000, dtype=torch.float64)
    """

    kl_sum: Tensor

    def __init__(self, shares: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(shares, **kwargs)
        self.add_state("kl_sum", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    @override
    def update(self, logratio: Tensor, *masks: Tensor, difference: Tensor) -> None:  # type: ignore[override]  # more input
        super().update(logratio, *masks)
        self.kl_sum -= difference.detach().double().sum()

    @override
    def compute(self) -> dict[str, Tensor]:
        return {**super().compute(), "teacher_kl": self.kl_sum / self.num_tokens.clamp(min=1)}
