"""A reward for multiple choice: compares the choice of a response with the one that the reference names."""

from lightning_gft.rewards.choices.reward import MultipleChoiceReward

__all__ = ["MultipleChoiceReward"]
