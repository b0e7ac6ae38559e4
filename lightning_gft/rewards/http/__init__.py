"""A reward that a service gives: a reward model or a judge behind an address."""

from lightning_gft.rewards.http.reward import HTTPReward

__all__ = ["HTTPReward"]
