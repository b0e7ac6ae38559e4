"""Rollout engines: drawing responses from a language model."""

from lightning_gft.rollout.engine import EndTokens, RolloutEngine, combine_seeds, response_seeds, spawn_seeds
from lightning_gft.rollout.transformers import TransformersEngine

__all__ = ["EndTokens", "RolloutEngine", "TransformersEngine", "combine_seeds", "response_seeds", "spawn_seeds"]
