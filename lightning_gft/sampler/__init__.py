"""The group sampler: prompts -> group -> rewards -> advantages."""

from lightning_gft.sampler.demonstrations import score_demonstrations
from lightning_gft.sampler.grouping import build_groups
from lightning_gft.sampler.rounds import Round, Row
from lightning_gft.sampler.sampler import GroupSampler, SampleFn
from lightning_gft.sampler.unfit import find_unfit

__all__ = ["GroupSampler", "Round", "Row", "SampleFn", "build_groups", "find_unfit", "score_demonstrations"]
