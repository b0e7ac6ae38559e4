"""The group sampler: prompts -> group -> rewards -> advantages."""

from lightning_gft.sampler.demonstrations import score_demonstrations
from lightning_gft.sampler.grouping import build_groups
from lightning_gft.sampler.rounds import Round, Row
from lightning_gft.sampler.sampler import GroupSampler, SampleFn

__all__ = ["GroupSampler", "Round", "Row", "SampleFn", "build_groups", "score_demonstrations"]
