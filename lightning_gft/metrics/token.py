"""Statistics of trained tokens: entropy, and how much pushes down rather than up."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_gft.metrics.base import ExactMetric
from lightning_gft.types import TokenBatch


class TokenStatistics(ExactMetric):
    """What the trained tokens of a step look like.

    With a negative advantage the loss is unbounded below, so a policy that is pushed down more than up can collapse.
    The share of such tokens, and of their weight, tells early.

    As input to ``update``:

    - ``entropy`` (:class:`~torch.Tensor`): ``[M]``
    - ``coefficients`` (:class:`~torch.Tensor`): ``[M]`` coefficients of the objective
    - ``tokens`` (:class:`~lightning_gft.types.TokenBatch`): the same ``M`` tokens

    As output of ``compute``, scalars over all tokens since the last ``reset`` and over all processes:

    - ``entropy``: mean entropy, in nats
    - ``negative/token_fraction``: share of tokens whose coefficient is negative
    - ``negative/weight_fraction``: their share of the sum of absolute coefficients

    Example:
        >>> statistics = TokenStatistics()
        >>> tokens = TokenBatch(torch.ones(3), torch.zeros(3), torch.ones(3))
        >>> statistics.update(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 2.0, -1.0]), tokens)
        >>> {name: round(value.item(), 2) for name, value in statistics.compute().items()}
        {'entropy': 2.0, 'negative/token_fraction': 0.33, 'negative/weight_fraction': 0.25}
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    num_tokens: Tensor
    num_negative: Tensor
    entropy_sum: Tensor
    weight_sum: Tensor
    negative_weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("num_tokens", "num_negative", "entropy_sum", "weight_sum", "negative_weight"):
            self.add_state(name, torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, entropy: Tensor, coefficients: Tensor, tokens: TokenBatch) -> None:
        """Count tokens."""
        weight = (coefficients * tokens.weights).double()
        self.num_tokens += weight.numel()
        self.num_negative += (weight < 0).sum()
        self.entropy_sum += entropy.double().sum()
        self.weight_sum += weight.abs().sum()
        self.negative_weight += weight.clamp(max=0).abs().sum()

    def compute(self) -> dict[str, Tensor]:
        """Return the statistics described above."""
        tokens = self.num_tokens.clamp(min=1)
        return {
            "entropy": self.entropy_sum / tokens,
            "negative/token_fraction": self.num_negative / tokens,
            "negative/weight_fraction": self.negative_weight / self.weight_sum.clamp(min=torch.finfo().tiny),
        }
