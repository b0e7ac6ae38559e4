"""Statistics of trained tokens: likelihood, entropy, and the share with negative coefficients."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_gft.functional.rectification import floor_logprobs
from lightning_gft.metrics.base import ExactMetric
from lightning_gft.types import Source, TokenBatch

_NUM_SUMS = 6
"""Sums per source: tokens, negative tokens, entropy, negative log-likelihood, weight, negative weight."""


class TokenStatistics(ExactMetric):
    """Statistics of a step's trained tokens.

    The loss of tokens with a negative advantage is unbounded below, so a policy can collapse if they outweigh the
    others. Their share of the tokens and of the weight is an early warning.

    As input to ``update``:

    - ``tokens`` (:class:`~lightning_gft.types.TokenBatch`): ``m`` trained tokens, with log-probabilities and entropies
    - ``coefficients`` (:class:`~torch.Tensor`): ``[m]`` coefficients of the loss

    As output of ``compute``, scalars over all tokens since the last ``reset`` and over all ranks:

    - ``entropy``: mean entropy, in nats
    - ``nll``: mean negative log-likelihood, in nats
    - ``negative/token_fraction``: share of tokens whose coefficient is negative
    - ``negative/weight_fraction``: share of these tokens in the sum of absolute coefficients, each multiplied by its
      token's weight in the mean
    - each of these figures as ``<figure>_by_source/<source>``, for sources with tokens

    Example:
        >>> statistics, one = TokenStatistics(), torch.ones(3)
        >>> entropy, source = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([Source.EXPERT, Source.SELF, Source.SELF])
        >>> tokens = TokenBatch(-one, one, source, one.long(), one.long(), one, entropy=entropy)
        >>> statistics.update(tokens, torch.tensor([1.0, 2.0, -1.0]))
        >>> {name: round(value.item(), 2) for name, value in statistics.compute().items() if "negative" in name}
        {'negative/token_fraction': 0.33, 'negative/weight_fraction': 0.25,
        'negative/token_fraction_by_source/expert': 0.0, 'negative/weight_fraction_by_source/expert': 0.0,
        'negative/token_fraction_by_source/self': 0.5, 'negative/weight_fraction_by_source/self': 0.33}
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    sums: Tensor

    def __init__(self) -> None:
        super().__init__()
        # One state, so that ranks reduce it in one collective.
        self.add_state("sums", torch.zeros(len(Source), _NUM_SUMS, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, tokens: TokenBatch, coefficients: Tensor) -> None:
        """Count the tokens of one update."""
        assert tokens.entropy is not None  # noqa: S101 (stated above)
        weight = (coefficients * tokens.weights).double()
        nll = -floor_logprobs(tokens.logprobs)
        terms = (torch.ones_like(weight), weight < 0, tokens.entropy, nll, weight.abs(), -weight.clamp(max=0))
        values = torch.stack([term.double() for term in terms])
        index = _NUM_SUMS * tokens.source + torch.arange(_NUM_SUMS, device=weight.device)[:, None]
        self.sums.view(-1).index_add_(0, index.flatten(), values.flatten())

    def compute(self) -> dict[str, Tensor]:
        """Return the statistics described above."""
        statistics = _figures(self.sums.sum(dim=0))
        for source, number in zip(Source, self.sums[:, 0].tolist(), strict=True):  # the only device sync
            if number:
                of_source = _figures(self.sums[source])
                statistics |= {f"{name}_by_source/{source.name.lower()}": value for name, value in of_source.items()}
        return statistics


def _figures(sums: Tensor) -> dict[str, Tensor]:
    number, negative, entropy, nll, weight, negative_weight = sums
    tokens = number.clamp(min=1)
    return {
        "entropy": entropy / tokens,
        "nll": nll / tokens,
        "negative/token_fraction": negative / tokens,
        "negative/weight_fraction": negative_weight / weight.clamp(min=torch.finfo().tiny),
    }
