"""The group sampler: prompts -> group -> rewards -> advantages."""

from lightning_gft.sampler.sampler import GroupSampler, SampleFn

__all__ = ["GroupSampler", "SampleFn"]
