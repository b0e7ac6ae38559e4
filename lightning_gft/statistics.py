"""What a training step counts, in one place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lightning_gft.losses import GroupLoss
from lightning_gft.metrics import GroupStatistics, TokenStatistics
from lightning_gft.types import GroupBatch, LossOutput


class UpdateFigures(NamedTuple):
    """What is logged of the last update of a step.

    Args:
        loss: The objective, over all processes.
        grad_norm: Norm of the gradient before clipping.
        learning_rate: Of the first parameter group, as the step began.
        nonfinite_updates: Updates of the run so far whose gradient was not finite.
    """

    loss: Tensor
    grad_norm: Tensor
    learning_rate: float
    nonfinite_updates: float

    @classmethod
    def zeros(cls) -> UpdateFigures:
        """Return figures of no update."""
        return cls(torch.zeros(()), torch.zeros(()), 0.0, 0.0)


class TrainingStatistics(nn.Module):
    """Counts groups and tokens between two calls of :meth:`collect`, and all tokens since the beginning.

    Args:
        reward_names: Names of the rewards.

    Example:
        >>> TrainingStatistics(["accuracy"]).num_tokens
        tensor(0)
    """

    num_tokens: Tensor

    def __init__(self, reward_names: Sequence[str]) -> None:
        super().__init__()
        self.groups = GroupStatistics(reward_names)
        self.tokens = TokenStatistics()
        self.register_buffer("num_tokens", torch.tensor(0))

    def count_pass(self, loss: GroupLoss, groups: GroupBatch, output: LossOutput) -> None:
        """Count the tokens of one pass through the policy, here and in the loss's rectifier."""
        tokens = groups.tokens()
        loss.rectifier.update(output.logprobs)
        self.tokens.update(output, loss.coefficients(output.logprobs, tokens), tokens)

    def collect(
        self, loss: GroupLoss, num_tokens: Tensor, seconds: float, update: UpdateFigures
    ) -> dict[str, Tensor | float]:
        """Return all figures over all processes, by the names they are logged under, and begin anew.

        Args:
            loss: Whose rectifier has counted.
            num_tokens: Prompt and response tokens of the step, over all processes.
            seconds: How long the step took.
            update: Figures of its last update.
        """
        self.num_tokens += num_tokens
        metrics = (self.groups, self.tokens, loss.rectifier)
        figures = {name: value for metric in metrics for name, value in metric.compute().items()}
        for metric in metrics:
            metric.reset()
        counts = {"num_tokens": self.num_tokens.float(), "tokens_per_second": num_tokens / seconds}
        return {**figures, **counts, **update._asdict()}
