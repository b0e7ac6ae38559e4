"""Coefficient rectifiers: metrics that bound inverse-probability weights and measure their effect."""

from lightning_gft.rectifiers.adaptive import AdaptiveCoefficientRectifier
from lightning_gft.rectifiers.base import CoefficientRectifier
from lightning_gft.rectifiers.fixed import (
    ContinuousCoefficientRectifier,
    DynamicCoefficientRectifier,
    IdentityRectifier,
)

__all__ = [
    "AdaptiveCoefficientRectifier",
    "CoefficientRectifier",
    "ContinuousCoefficientRectifier",
    "DynamicCoefficientRectifier",
    "IdentityRectifier",
]
