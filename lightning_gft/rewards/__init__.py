"""Rewards: what scores a response, and how several of them make one number."""

from lightning_gft.rewards.base import FunctionReward, Reward
from lightning_gft.rewards.exact import ExactMatchReward
from lightning_gft.rewards.format import FormatReward
from lightning_gft.rewards.numeric import NumericReward
from lightning_gft.rewards.scoring import RewardError, score_responses

__all__ = [
    "ExactMatchReward",
    "FormatReward",
    "FunctionReward",
    "NumericReward",
    "Reward",
    "RewardError",
    "score_responses",
]
