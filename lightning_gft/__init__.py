"""Group Fine-Tuning for language models, as PyTorch Lightning modules.

Public names are imported when they are first asked for: ``import lightning_gft`` alone is quick, and
``lightning_gft.functional`` needs nothing but torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    from lightning_gft.sampling import SamplingParams
    from lightning_gft.schedules import Schedule, WarmupSchedule
    from lightning_gft.sources import ExpertSource, ResponseSource, SelfSource, TeacherSource
    from lightning_gft.strategies import FSDP2Strategy
    from lightning_gft.types import GroupBatch, LossOutput, PromptBatch, Response, Source, TokenBatch

_PLACES = {
    "lightning_gft.advantages": (
        "AdvantageEstimator",
        "GroupNormalizedAdvantage",
        "LeaveOneOutAdvantage",
        "RewardAdvantage",
        "SelfBaselineAdvantage",
    ),
    "lightning_gft.data": ("ArithmeticDataModule", "ArithmeticPretrainingDataModule", "GroupDataModule"),
    "lightning_gft.evaluation": ("Evaluation",),
    "lightning_gft.losses": ("DFTLoss", "GFTLoss", "GroupLoss", "SFTLoss"),
    "lightning_gft.metrics": ("GroupStatistics", "PolicyEvaluation", "TokenStatistics"),
    "lightning_gft.module": ("GFTLitModule",),
    "lightning_gft.policy": (
        "ArithmeticPolicy",
        "LoRA",
        "Policy",
        "PolicyLoader",
        "PretrainedPolicy",
        "Quantization",
        "ScratchPolicy",
    ),
    "lightning_gft.rectifiers": (
        "AdaptiveCoefficientRectifier",
        "CoefficientRectifier",
        "ContinuousCoefficientRectifier",
        "DynamicCoefficientRectifier",
        "IdentityRectifier",
    ),
    "lightning_gft.rewards": (
        "ExactMatchReward",
        "FormatReward",
        "FunctionReward",
        "NumericReward",
        "Reward",
        "RewardError",
    ),
    "lightning_gft.rollout": ("RolloutEngine", "TransformersEngine"),
    "lightning_gft.sampler": ("GroupSampler",),
    "lightning_gft.sampling": ("SamplingParams",),
    "lightning_gft.schedules": ("Schedule", "WarmupSchedule"),
    "lightning_gft.sources": ("ExpertSource", "ResponseSource", "SelfSource", "TeacherSource"),
    "lightning_gft.strategies": ("FSDP2Strategy",),
    "lightning_gft.types": (
        "GroupBatch",
        "LossOutput",
        "PromptBatch",
        "Response",
        "Source",
        "TokenBatch",
    ),
}
"""Where each public name is defined, besides the module ``functional``: the imports above, made when needed."""

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
    "Schedule",
    "ScratchPolicy",
    "SelfBaselineAdvantage",
    "SelfSource",
    "Source",
    "TeacherSource",
    "TokenBatch",
    "TokenStatistics",
    "TransformersEngine",
    "WarmupSchedule",
    "functional",
]

_PLACE_OF = {name: place for place, names in _PLACES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "functional":
        return import_module("lightning_gft.functional")  # which sets the attribute itself
    if name not in _PLACE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_PLACE_OF[name]), name)
    globals()[name] = value  # found directly from now on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
