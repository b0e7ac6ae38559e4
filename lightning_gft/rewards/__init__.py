"""Rewards: what scores a response, and how several of them make one number."""

from lightning_gft.rewards.base import FunctionReward, Reward, as_rewards
from lightning_gft.rewards.exact import ExactMatchReward
from lightning_gft.rewards.failures import RewardError
from lightning_gft.rewards.format import FormatReward
from lightning_gft.rewards.numeric import NumericReward
from lightning_gft.rewards.overlong import SoftOverlongReward
from lightning_gft.rewards.scoring import response_facts, score_responses
from lightning_gft.rewards.total import GatedSum, RewardTotal, WeightedSum
from lightning_gft.rewards.workers import TimeLimitedReward

__all__ = [
    "ExactMatchReward",
    "FormatReward",
    "FunctionReward",
    "GatedSum",
    "NumericReward",
    "Reward",
    "RewardError",
    "RewardTotal",
    "SoftOverlongReward",
    "TimeLimitedReward",
    "WeightedSum",
    "as_rewards",
    "response_facts",
    "score_responses",
]
