"""The public names and where they are defined: for type checkers, and read by ``__init__.py``."""

from lightning_gft import functional as functional
from lightning_gft.advantages import AdvantageEstimator as AdvantageEstimator
from lightning_gft.advantages import GroupNormalizedAdvantage as GroupNormalizedAdvantage
from lightning_gft.advantages import LeaveOneOutAdvantage as LeaveOneOutAdvantage
from lightning_gft.advantages import RewardAdvantage as RewardAdvantage
from lightning_gft.advantages import SelfBaselineAdvantage as SelfBaselineAdvantage
from lightning_gft.arithmetic import ArithmeticDataModule as ArithmeticDataModule
from lightning_gft.arithmetic import ArithmeticPolicy as ArithmeticPolicy
from lightning_gft.callbacks import GroupWriter as GroupWriter
from lightning_gft.callbacks import HuggingFaceExport as HuggingFaceExport
from lightning_gft.data import GroupDataModule as GroupDataModule
from lightning_gft.data import PromptDataModule as PromptDataModule
from lightning_gft.distributed import FSDP2Strategy as FSDP2Strategy
from lightning_gft.evaluation import Evaluation as Evaluation
from lightning_gft.losses import DFTLoss as DFTLoss
from lightning_gft.losses import GFTLoss as GFTLoss
from lightning_gft.losses import GroupLoss as GroupLoss
from lightning_gft.losses import SFTLoss as SFTLoss
from lightning_gft.module import GFTLitModule as GFTLitModule
from lightning_gft.policy import LoRA as LoRA
from lightning_gft.policy import ModelPolicy as ModelPolicy
from lightning_gft.policy import Policy as Policy
from lightning_gft.policy import PolicyLoader as PolicyLoader
from lightning_gft.policy import PretrainedPolicy as PretrainedPolicy
from lightning_gft.policy import Quantization as Quantization
from lightning_gft.policy import ScratchPolicy as ScratchPolicy
from lightning_gft.rectifiers import AdaptiveCoefficientRectifier as AdaptiveCoefficientRectifier
from lightning_gft.rectifiers import CoefficientRectifier as CoefficientRectifier
from lightning_gft.rectifiers import ContinuousCoefficientRectifier as ContinuousCoefficientRectifier
from lightning_gft.rectifiers import DynamicCoefficientRectifier as DynamicCoefficientRectifier
from lightning_gft.rectifiers import IdentityRectifier as IdentityRectifier
from lightning_gft.rewards import ExactMatchReward as ExactMatchReward
from lightning_gft.rewards import FormatReward as FormatReward
from lightning_gft.rewards import FunctionReward as FunctionReward
from lightning_gft.rewards import NumericReward as NumericReward
from lightning_gft.rewards import Reward as Reward
from lightning_gft.rewards import SoftOverlongReward as SoftOverlongReward
from lightning_gft.rewards import TimeLimitedReward as TimeLimitedReward
from lightning_gft.rollout import RolloutEngine as RolloutEngine
from lightning_gft.rollout import TransformersEngine as TransformersEngine
from lightning_gft.sampler import GroupSampler as GroupSampler
from lightning_gft.sampling import SamplingParams as SamplingParams
from lightning_gft.schedules import Schedule as Schedule
from lightning_gft.schedules import WarmupSchedule as WarmupSchedule
from lightning_gft.sources import ExpertSource as ExpertSource
from lightning_gft.sources import ResponseSource as ResponseSource
from lightning_gft.sources import SelfSource as SelfSource
from lightning_gft.sources import TeacherSource as TeacherSource
from lightning_gft.types import GroupBatch as GroupBatch
from lightning_gft.types import PromptBatch as PromptBatch
from lightning_gft.types import Response as Response
from lightning_gft.types import Source as Source
from lightning_gft.types import TokenBatch as TokenBatch

__version__: str
__all__: list[str]
