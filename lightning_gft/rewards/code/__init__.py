"""A reward for programs: what a response says as code is run against unit tests, in a sandbox."""

from lightning_gft.rewards.code.reward import CodeExecutionReward

__all__ = ["CodeExecutionReward"]
