"""A reward from an HTTP service, such as a reward model or a judge."""

from lightning_gft.rewards.http.reward import HTTPReward

__all__ = ["HTTPReward"]
