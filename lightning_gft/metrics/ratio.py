"""Statistics of the ratio of probabilities: the policy now to the policy before the first update on a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_gft.metrics.base import ExactMetric


class RatioStatistics(ExactMetric):
    r"""Mean and largest ratio ``r = p / p_old``, and the shares of tokens that masks select.

    As input to ``update``:

    - ``logratio`` (:class:`~torch.Tensor`): ``[m]``, ``log r`` of each trained token, or of each response
    - ``masks`` (:class:`~torch.Tensor`): ``[m]`` booleans, one mask for each of ``shares``, in their order

    As output of ``compute``, scalars over all tokens since the last ``reset`` and over all ranks:

    - ``ratio_mean``, ``ratio_max``: mean and maximum of ``r``
    - each of ``shares``: share of tokens for which its mask is true

    Args:
        shares: Names of the figures of the masks, such as ``"clip_ratio/low_mean"``.
        kwargs: Passed on to :class:`torchmetrics.Metric`.

    Example:
        >>> statistics = RatioStatistics(["clip_ratio/high_mean"])
        >>> statistics.update(torch.tensor([0.0, 0.7]), torch.tensor([False, True]))
        >>> statistics.compute()["clip_ratio/high_mean"]
        tensor(0.5000)
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    num_tokens: Tensor
    num_picked: Tensor
    ratio_sum: Tensor
    ratio_max: Tensor

    def __init__(self, shares: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shares = list(shares)
        self.add_state("num_tokens", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("num_picked", torch.zeros(len(self.shares), dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("ratio_sum", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("ratio_max", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="max")

    def update(self, logratio: Tensor, *masks: Tensor) -> None:
        """Count tokens with these log-ratios and masks."""
        if not logratio.numel():
            return
        ratio = logratio.detach().double().exp()
        self.num_tokens += ratio.numel()
        self.ratio_sum += ratio.sum()
        self.ratio_max = torch.maximum(self.ratio_max, ratio.max())
        if self.shares:
            self.num_picked += torch.stack(masks).sum(dim=1)

    def compute(self) -> dict[str, Tensor]:
        """Return the statistics described above; all are 0 before the first token is counted."""
        tokens = self.num_tokens.clamp(min=1)
        picked = dict(zip(self.shares, self.num_picked / tokens, strict=True))
        return {"ratio_mean": self.ratio_sum / tokens, "ratio_max": self.ratio_max, **picked}
