"""Group Fine-Tuning for language models, as PyTorch Lightning modules."""

from lightning_gft import functional
from lightning_gft.advantages import (
    AdvantageEstimator,
    GroupNormalizedAdvantage,
    LeaveOneOutAdvantage,
    RewardAdvantage,
    SelfBaselineAdvantage,
)
from lightning_gft.data import (
    ArithmeticDataModule,
    ArithmeticPretrainingDataModule,
    GroupDataModule,
)
from lightning_gft.evaluation import Evaluation
from lightning_gft.losses import DFTLoss, GFTLoss, GroupLoss, SFTLoss
from lightning_gft.metrics import GroupStatistics, PolicyEvaluation, TokenStatistics
from lightning_gft.module import GFTLitModule
from lightning_gft.policy import (
    ArithmeticPolicy,
    LoRA,
    ModelPolicy,
    Policy,
    PolicyLoader,
    PretrainedPolicy,
    Quantization,
    ScratchPolicy,
)
from lightning_gft.rectifiers import (
    AdaptiveCoefficientRectifier,
    CoefficientRectifier,
    ContinuousCoefficientRectifier,
    DynamicCoefficientRectifier,
    IdentityRectifier,
)
from lightning_gft.rewards import (
    ExactMatchReward,
    FormatReward,
    FunctionReward,
    NumericReward,
    Reward,
    RewardError,
)
from lightning_gft.rollout import RolloutEngine, TransformersEngine
from lightning_gft.sampler import GroupSampler
from lightning_gft.sources import ExpertSource, ResponseSource, SelfSource, TeacherSource
from lightning_gft.strategies import FSDP2Strategy
from lightning_gft.types import GroupBatch, LossOutput, PromptBatch, Response, SamplingParams, Source, TokenBatch

__all__ = [
    "AdaptiveCoefficientRectifier",
    "AdvantageEstimator",
    "ArithmeticDataModule",
    "ArithmeticPolicy",
    "ArithmeticPretrainingDataModule",
    "CoefficientRectifier",
    "ContinuousCoefficientRectifier",
    "DFTLoss",
    "DynamicCoefficientRectifier",
    "Evaluation",
    "ExactMatchReward",
    "ExpertSource",
    "FSDP2Strategy",
    "FormatReward",
    "FunctionReward",
    "GFTLitModule",
    "GFTLoss",
    "GroupBatch",
    "GroupDataModule",
    "GroupLoss",
    "GroupNormalizedAdvantage",
    "GroupSampler",
    "GroupStatistics",
    "IdentityRectifier",
    "LeaveOneOutAdvantage",
    "LoRA",
    "LossOutput",
    "ModelPolicy",
    "NumericReward",
    "Policy",
    "PolicyEvaluation",
    "PolicyLoader",
    "PretrainedPolicy",
    "PromptBatch",
    "Quantization",
    "Response",
    "ResponseSource",
    "Reward",
    "RewardAdvantage",
    "RewardError",
    "RolloutEngine",
    "SFTLoss",
    "SamplingParams",
    "ScratchPolicy",
    "SelfBaselineAdvantage",
    "SelfSource",
    "Source",
    "TeacherSource",
    "TokenBatch",
    "TokenStatistics",
    "TransformersEngine",
    "functional",
]
