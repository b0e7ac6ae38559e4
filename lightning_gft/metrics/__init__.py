"""Metrics of groups, tokens and policies, which torchmetrics reduces over ranks."""

from lightning_gft.metrics.base import ExactMetric
from lightning_gft.metrics.coefficient import CoefficientsBySource, CoefficientStatistics
from lightning_gft.metrics.correction import CorrectionStatistics
from lightning_gft.metrics.correctness import Correctness
from lightning_gft.metrics.evaluation import PolicyEvaluation
from lightning_gft.metrics.group import GroupStatistics
from lightning_gft.metrics.mean import ExactMean
from lightning_gft.metrics.means import NamedMeans, Totals
from lightning_gft.metrics.ratio import RatioStatistics
from lightning_gft.metrics.sampling import SamplingStatistics
from lightning_gft.metrics.staleness import Staleness
from lightning_gft.metrics.teacher import TeacherStatistics
from lightning_gft.metrics.token import TokenStatistics

__all__ = [
    "CoefficientStatistics",
    "CoefficientsBySource",
    "CorrectionStatistics",
    "Correctness",
    "ExactMean",
    "ExactMetric",
    "GroupStatistics",
    "NamedMeans",
    "PolicyEvaluation",
    "RatioStatistics",
    "SamplingStatistics",
    "Staleness",
    "TeacherStatistics",
    "TokenStatistics",
    "Totals",
]
