"""Metrics of groups, tokens and policies, reduced over processes by torchmetrics."""

from lightning_gft.metrics.evaluation import PolicyEvaluation
from lightning_gft.metrics.group import GroupStatistics
from lightning_gft.metrics.token import TokenStatistics

__all__ = ["GroupStatistics", "PolicyEvaluation", "TokenStatistics"]
