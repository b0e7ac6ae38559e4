"""The statistics of a training step."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lightning_gft.losses import GroupLoss
from lightning_gft.metrics import (
    CoefficientsBySource,
    Correctness,
    GroupStatistics,
    SamplingStatistics,
    Staleness,
    TokenStatistics,
)
from lightning_gft.phases import phase
from lightning_gft.types import GroupBatch, LossOutput, TokenBatch, TrainedTokens


class UpdateFigures(NamedTuple):
    """Figures of the last update of a step.

    Args:
        loss: Value of the loss over all ranks.
        grad_norm: Norm of the gradient before clipping.
        learning_rate: Learning rate of the first parameter group at the beginning of the step.
        nonfinite_updates: Number of the run's updates so far whose gradient was not finite.
        measured: Figures that are measured only if the step's row is written, by name.
    """

    loss: Tensor
    grad_norm: Tensor
    learning_rate: float
    nonfinite_updates: float
    measured: Mapping[str, Tensor] = MappingProxyType({})

    @classmethod
    def zeros(cls) -> UpdateFigures:
        """Return the figures of a step without an update."""
        return cls(torch.zeros(()), torch.zeros(()), 0.0, 0.0)


class TrainingStatistics(nn.Module):
    """Counts groups and tokens between two calls of :meth:`collect`, and all tokens since the start of the run.

    Attributes:
        coefficients: Metric with the histograms of weights over all ranks, as of the last :meth:`collect`.

    Example:
        >>> TrainingStatistics().num_tokens
        tensor(0)
    """

    num_tokens: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.groups = GroupStatistics([])
        self.tokens = TokenStatistics()
        self.coefficients = CoefficientsBySource()
        self.sampling = SamplingStatistics()
        self.staleness = Staleness()
        self.register_buffer("num_tokens", torch.tensor(0))

    def count_groups(
        self,
        loss: GroupLoss,
        groups: GroupBatch,
        num_prompts: int,
        correctness: Correctness | None = None,
        steps: int = 0,
    ) -> None:
        """Count the sampled groups of a step, here and in the loss; the names of rewards may change between steps.

        Args:
            loss: The objective, which counts the groups, too.
            groups: The sampled groups of this rank.
            num_prompts: Number of prompts that they were sampled for.
            correctness: Rule by which responses are correct.
            steps: Number of optimizer steps that the policy has taken so far.
        """
        loss.update_groups(groups)
        if self.groups.reward_names != list(groups.reward_parts):
            self.groups = GroupStatistics(list(groups.reward_parts)).to(groups.rewards.device)
        self.groups.update(groups, num_prompts, correctness)
        self.staleness.update(groups, steps)

    def count_pass(self, loss: GroupLoss, tokens: TokenBatch, output: LossOutput, fresh: bool = True) -> TrainedTokens:
        """Count the tokens of one update, here and in the loss, and return them with the output of the pass.

        Args:
            loss: The objective, which counts the tokens, too.
            tokens: The tokens of the step's plan.
            output: Output of the policy for all of these tokens.
            fresh: Whether the policy is unchanged since before the first update, so that its log-probabilities can be
                compared with those of sampling.
        """
        tokens = tokens.after_pass(output.logprobs, output.entropy, loss.needs()).with_logratios(loss.needs())
        loss.update(tokens, output.coefficients)
        factors = loss.factors(tokens, output.coefficients)
        self.tokens.update(tokens, output.coefficients)
        if fresh:
            self.sampling.update(tokens)
        self.coefficients.update(tokens, factors, signed="advantages" in loss.needs())
        return TrainedTokens(tokens, output.coefficients, factors)

    def collect(self, num_tokens: Tensor, seconds: float, update: UpdateFigures) -> dict[str, Tensor | float]:
        """Return all figures, reduced over ranks, by the names that they are logged under, and reset the counts.

        Args:
            num_tokens: Number of prompt and response tokens of the step, over all ranks.
            seconds: Duration of the step.
            update: Figures of the step's last update.
        """
        self.num_tokens += num_tokens
        figures: dict[str, Tensor | float] = {}
        several = torch.distributed.is_available() and torch.distributed.is_initialized()
        with phase("collective") if several else nullcontext():  # metrics are reduced over ranks
            for metric in (self.groups, self.tokens, self.coefficients, self.sampling, self.staleness):
                figures |= metric.compute()
                metric.reset()
        counts = {"num_tokens": self.num_tokens.float(), "tokens_per_second": num_tokens / seconds}
        own = update._asdict()
        return {**figures, **counts, **own.pop("measured"), **own}
