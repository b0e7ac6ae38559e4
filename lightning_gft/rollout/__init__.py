"""Rollout engines: drawing responses from a language model."""

from lightning_gft.rollout.engine import RolloutEngine, combine_seeds, response_seeds, spawn_seeds
from lightning_gft.rollout.stopping import EndTokens, StopStrings
from lightning_gft.rollout.transformers import TransformersEngine

__all__ = [
    "EndTokens",
    "RolloutEngine",
    "StopStrings",
    "TransformersEngine",
    "combine_seeds",
    "response_seeds",
    "spawn_seeds",
]
