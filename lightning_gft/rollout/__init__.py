"""Rollout engines, which draw responses from a language model."""

from lightning_gft.rollout.engine import RolloutEngine
from lightning_gft.rollout.transformers import TransformersEngine

__all__ = ["RolloutEngine", "TransformersEngine"]
