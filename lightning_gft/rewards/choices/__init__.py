"""A reward for multiple choice: which choice a response gives, and which the reference names."""

from lightning_gft.rewards.choices.reward import MultipleChoiceReward

__all__ = ["MultipleChoiceReward"]
