"""The names of the package and where they are defined: for type checkers, and read by ``__init__.py``."""

from lightning_gft.rewards.base import Reward as Reward
from lightning_gft.rewards.choices import MultipleChoiceReward as MultipleChoiceReward
from lightning_gft.rewards.code import CodeExecutionReward as CodeExecutionReward
from lightning_gft.rewards.exact import ExactMatchReward as ExactMatchReward
from lightning_gft.rewards.failures import Failed as Failed
from lightning_gft.rewards.failures import RewardError as RewardError
from lightning_gft.rewards.format import FormatReward as FormatReward
from lightning_gft.rewards.function import FunctionReward as FunctionReward
from lightning_gft.rewards.function import as_rewards as as_rewards
from lightning_gft.rewards.http import HTTPReward as HTTPReward
from lightning_gft.rewards.judged import JudgedReward as JudgedReward
from lightning_gft.rewards.limited import TimeLimitedReward as TimeLimitedReward
from lightning_gft.rewards.math import MathAccuracyReward as MathAccuracyReward
from lightning_gft.rewards.numeric import NumericReward as NumericReward
from lightning_gft.rewards.overlong import SoftOverlongReward as SoftOverlongReward
from lightning_gft.rewards.pool import WorkerPool as WorkerPool
from lightning_gft.rewards.repetition import RepetitionPenalty as RepetitionPenalty
from lightning_gft.rewards.scoring import response_facts as response_facts
from lightning_gft.rewards.scoring import score_responses as score_responses
from lightning_gft.rewards.total import GatedSum as GatedSum
from lightning_gft.rewards.total import RewardTotal as RewardTotal
from lightning_gft.rewards.total import WeightedSum as WeightedSum

__all__: list[str]
