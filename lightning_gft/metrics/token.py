"""Statistics of trained tokens: entropy, and how much pushes down rather than up."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_gft.metrics.base import ExactMetric
from lightning_gft.types import Source, TokenBatch


class TokenStatistics(ExactMetric):
    """What the trained tokens of a step look like.

    With a negative advantage the loss is unbounded below, so a policy that is pushed down more than up can collapse.
    The share of such tokens, and of their weight, tells early.

    As input to ``update``:

    - ``tokens`` (:class:`~lightning_gft.types.TokenBatch`): ``m`` trained tokens, with log-probabilities and entropies
    - ``coefficients`` (:class:`~torch.Tensor`): ``[m]`` coefficients of the objective

    As output of ``compute``, scalars over all tokens since the last ``reset`` and over all ranks:

    - ``entropy``: mean entropy, in nats
    - ``negative/token_fraction``: share of tokens whose coefficient is negative
    - ``negative/weight_fraction``: their share of the sum of absolute coefficients
    - ``sampling/logprob_difference``: mean absolute difference between the log-probabilities of the policy's own tokens
      in training and at sampling time; where the latter are known. More than rounding means that the rollout engine
      draws from another policy than the one that is trained.

    Example:
        >>> statistics, one = TokenStatistics(), torch.ones(3)
        >>> entropy = torch.tensor([1.0, 2.0, 3.0])
        >>> tokens = TokenBatch(-one, one, one.long(), one.long(), one.long(), one, entropy=entropy)
        >>> statistics.update(tokens, torch.tensor([1.0, 2.0, -1.0]))
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
    num_sampled: Tensor
    difference_sum: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in (
            *("num_tokens", "num_negative", "entropy_sum", "weight_sum", "negative_weight"),
            *("num_sampled", "difference_sum"),
        ):
            self.add_state(name, torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, tokens: TokenBatch, coefficients: Tensor) -> None:
        """Count the tokens of one update."""
        assert tokens.entropy is not None  # noqa: S101 (stated above)
        weight = (coefficients * tokens.weights).double()
        self.num_tokens += weight.numel()
        self.num_negative += (weight < 0).sum()
        self.entropy_sum += tokens.entropy.double().sum()
        self.weight_sum += weight.abs().sum()
        self.negative_weight += weight.clamp(max=0).abs().sum()
        if tokens.sampling_logprobs is not None:
            own = (tokens.source == Source.SELF) & ~tokens.sampling_logprobs.isnan()
            self.num_sampled += own.sum()
            difference = (tokens.logprobs - tokens.sampling_logprobs).double().abs()
            self.difference_sum += torch.where(own, difference, 0.0).sum()

    def compute(self) -> dict[str, Tensor]:
        """Return the statistics described above."""
        tokens = self.num_tokens.clamp(min=1)
        statistics = {
            "entropy": self.entropy_sum / tokens,
            "negative/token_fraction": self.num_negative / tokens,
            "negative/weight_fraction": self.negative_weight / self.weight_sum.clamp(min=torch.finfo().tiny),
        }
        if self.num_sampled:
            statistics["sampling/logprob_difference"] = self.difference_sum / self.num_sampled
        return statistics
