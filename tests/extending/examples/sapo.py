"""SAPO (arXiv 2511.20347): a policy gradient whose ratios are limited by a soft gate, where GRPO cuts them off."""

import torch
from torch import Tensor
from torchmetrics import MeanMetric

from lightning_gft import GroupBatch, GroupLoss, Source, TokenBatch


class SAPOLoss(GroupLoss):
    """Maximises ``4 / temperature * sigmoid(temperature * (r - 1)) * A``, ``r = p / p_old``, on own samples.

    Args:
        temperature_pos: How soon the gate closes for a positive advantage.
        temperature_neg: How soon it does for any other.
    """

    def __init__(self, temperature_pos: float = 1.0, temperature_neg: float = 1.05) -> None:
        super().__init__(reduction="sequence-mean")
        self.temperature_pos, self.temperature_neg = temperature_pos, temperature_neg
        self.gate_mean = MeanMetric()

    def takes_part(self, groups: GroupBatch) -> Tensor:
        return groups.source == Source.SELF

    def can_skip(self, groups: GroupBatch) -> Tensor:
        return groups.advantages == 0

    def needs(self) -> frozenset[str]:
        return frozenset({"advantages", "old_logprobs"})

    def coefficients(self, tokens: TokenBatch) -> Tensor:
        return tokens.advantages * (tokens.logprobs - tokens.old_logprobs).exp() * self.gate(tokens)

    def gate(self, tokens: TokenBatch) -> Tensor:
        """Return the slope of what is maximised: 1 where nothing has moved, less on both sides."""
        temperature = torch.where(tokens.advantages > 0, self.temperature_pos, self.temperature_neg)
        half_open = (temperature * ((tokens.logprobs - tokens.old_logprobs).exp() - 1)).sigmoid()
        return 4 * half_open * (1 - half_open)

    def update(self, tokens: TokenBatch, coefficients: Tensor) -> None:
        self.gate_mean.update(self.gate(tokens))

    def compute(self) -> dict[str, Tensor]:
        return {"gate_mean": self.gate_mean.compute()}

    def reset(self) -> None:
        self.gate_mean.reset()
