"""A reward for programs: runs the code of a response against unit tests, in a sandbox."""

from lightning_gft.rewards.code.reward import CodeExecutionReward

__all__ = ["CodeExecutionReward"]
