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
    from lightning_gft.arithmetic import ArithmeticDataModule, ArithmeticPolicy, ArithmeticPretrainingDataModule
    from lightning_gft.data import GroupDataModule
    from lightning_gft.distributed import FSDP2Strategy
    from lightning_gft.evaluation import Evaluation
    from lightning_gft.losses import DFTLoss, GFTLoss, GroupLoss, SFTLoss
    from lightning_gft.metrics import GroupStatistics, PolicyEvaluation, TokenStatistics
    from lightning_gft.module import GFTLitModule
    from lightning_gft.policy import (
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
        TimeLimitedReward,
    )
    from lightning_gft.rollout import RolloutEngine, TransformersEngine
    from lightning_gft.sampler import GroupSampler
    from lightning_gft.sampling import SamplingParams
    from lightning_gft.schedules import Schedule, WarmupSchedule
    from lightning_gft.sources import ExpertSource, ResponseSource, SelfSource, TeacherSource
    from lightning_gft.types import GroupBatch, LossOutput, PromptBatch, Response, Source, TokenBatch

__all__ = ["functional"]
_PLACES: dict[str, str] = {}
"""The module that defines each public name, except ``functional``, itself a module."""


def _defines(module: str) -> None:
    """Note the module of the names that ``__all__`` has got since the last call."""
    _PLACES.update((name, module) for name in __all__[len(_PLACES) + 1 :])


__all__ += [
    "AdvantageEstimator",
    "GroupNormalizedAdvantage",
    "LeaveOneOutAdvantage",
    "RewardAdvantage",
    "SelfBaselineAdvantage",
]
_defines("lightning_gft.advantages")
__all__ += ["ArithmeticDataModule", "ArithmeticPolicy", "ArithmeticPretrainingDataModule"]
_defines("lightning_gft.arithmetic")
__all__ += ["GroupDataModule"]
_defines("lightning_gft.data")
__all__ += ["FSDP2Strategy"]
_defines("lightning_gft.distributed")
__all__ += ["Evaluation"]
_defines("lightning_gft.evaluation")
__all__ += ["DFTLoss", "GFTLoss", "GroupLoss", "SFTLoss"]
_defines("lightning_gft.losses")
__all__ += ["GroupStatistics", "PolicyEvaluation", "TokenStatistics"]
_defines("lightning_gft.metrics")
__all__ += ["GFTLitModule"]
_defines("lightning_gft.module")
__all__ += [
    "LoRA",
    "ModelPolicy",
    "Policy",
    "PolicyLoader",
    "PretrainedPolicy",
    "Quantization",
    "ScratchPolicy",
]
_defines("lightning_gft.policy")
__all__ += [
    "AdaptiveCoefficientRectifier",
    "CoefficientRectifier",
    "ContinuousCoefficientRectifier",
    "DynamicCoefficientRectifier",
    "IdentityRectifier",
]
_defines("lightning_gft.rectifiers")
__all__ += [
    "ExactMatchReward",
    "FormatReward",
    "FunctionReward",
    "NumericReward",
    "Reward",
    "RewardError",
    "TimeLimitedReward",
]
_defines("lightning_gft.rewards")
__all__ += ["RolloutEngine", "TransformersEngine"]
_defines("lightning_gft.rollout")
__all__ += ["GroupSampler"]
_defines("lightning_gft.sampler")
__all__ += ["SamplingParams"]
_defines("lightning_gft.sampling")
__all__ += ["Schedule", "WarmupSchedule"]
_defines("lightning_gft.schedules")
__all__ += ["ExpertSource", "ResponseSource", "SelfSource", "TeacherSource"]
_defines("lightning_gft.sources")
__all__ += ["GroupBatch", "LossOutput", "PromptBatch", "Response", "Source", "TokenBatch"]
_defines("lightning_gft.types")


def __getattr__(name: str) -> Any:
    if name == "functional":
        return import_module("lightning_gft.functional")  # which sets the attribute itself
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_PLACES[name]), name)
    globals()[name] = value  # found directly from now on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
