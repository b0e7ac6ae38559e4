"""Figures of trained tokens, apart for each source."""

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from lightning_gft import GFTLoss, Source, TokenBatch


class GFTBySource(GFTLoss):
    """Group Fine-Tuning that logs probability and entropy of the trained tokens of each source."""

    def __init__(self) -> None:
        super().__init__()
        self.by_source = nn.ModuleDict(
            {f"{name}/{source.name.lower()}": MeanMetric() for source in Source for name in ("probability", "entropy")}
        )

    def update(self, tokens: TokenBatch, coefficients: Tensor) -> None:
        super().update(tokens, coefficients)
        values = {"probability": tokens.logprobs.exp(), "entropy": tokens.entropy}
        for source in Source:
            for name, value in values.items():
                self.by_source[f"{name}/{source.name.lower()}"].update(value[tokens.source == source])

    def compute(self) -> dict[str, Tensor]:
        figures = {name: metric.compute() for name, metric in self.by_source.items()}
        return super().compute() | {name: value for name, value in figures.items() if not torch.isnan(value)}

    def reset(self) -> None:
        super().reset()
        for metric in self.by_source.values():
            metric.reset()
