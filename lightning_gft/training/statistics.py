"""What a training step counts."""

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
    """What is logged of the last update of a step.

    Args:
        loss: The objective, over all ranks.
        grad_norm: Norm of the gradient before clipping.
        learning_rate: The first parameter group's, as the step began.
        nonfinite_updates: Updates of the run so far whose gradient was not finite.
        measured: What is measured where the step's row is written, by name.
    """

    loss: Tensor
    grad_norm: Tensor
    learning_rate: float
    nonfinite_updates: float
    measured: Mapping[str, Tensor] = MappingProxyType({})

    @classmethod
    def zeros(cls) -> UpdateFigures:
        """Return figures of no update."""
        return cls(torch.zeros(()), torch.zeros(()), 0.0, 0.0)


class TrainingStatistics(nn.Module):
    """Counts groups and tokens between two calls of :meth:`collect`, and all tokens since the beginning.

    Attributes:
        coefficients: Has the histograms of weights, over all ranks, of the last :meth:`collect`.

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
        """Count sampled groups, here and in the loss; their rewards may be others than those of the step before.

        Args:
            loss: The objective.
            groups: As sampled.
            num_prompts: Prompts that they were sampled for.
            correctness: Which responses are correct.
            steps: Optimizer steps that the policy has taken.
        """
        loss.update_groups(groups)
        if self.groups.reward_names != list(groups.reward_parts):
            self.groups = GroupStatistics(list(groups.reward_parts)).to(groups.rewards.device)
        self.groups.update(groups, num_prompts, correctness)
        self.staleness.update(groups, steps)

    def count_pass(self, loss: GroupLoss, tokens: TokenBatch, output: LossOutput, fresh: bool = True) -> TrainedTokens:
        """Count the tokens of one update, here and in the loss, and return them with what the pass gave.

        Args:
            loss: The objective.
            tokens: As planned.
            output: What the policy gave for all of them.
            fresh: Whether the policy is still the one that drew the samples, so that both log-probabilities compare.
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
        """Return all figures over all ranks, by the names they are logged under, and begin anew.

        Args:
            num_tokens: Prompt and response tokens of the step, over all ranks.
            seconds: How long the step took.
            update: Figures of its last update.
        """
        self.num_tokens += num_tokens
        figures: dict[str, Tensor | float] = {}
        several = torch.distributed.is_available() and torch.distributed.is_initialized()
        with phase("collective") if several else nullcontext():  # metrics wait for those of all ranks
            for metric in (self.groups, self.tokens, self.coefficients, self.sampling, self.staleness):
                figures |= metric.compute()
                metric.reset()
        counts = {"num_tokens": self.num_tokens.float(), "tokens_per_second": num_tokens / seconds}
        own = update._asdict()
        return {**figures, **counts, **own.pop("measured"), **own}
