"""The rules of advice, one for each problem."""

from lightning_gft.callbacks.advice.rule import Rule
from lightning_gft.callbacks.advice.rules.groups import Duplicates, EqualGroups, FlatReward, RewardFell
from lightning_gft.callbacks.advice.rules.responses import CutOff, LongerResponses
from lightning_gft.callbacks.advice.rules.sources import (
    ExpertScoresZero,
    ScoringFails,
    TeacherScoresZero,
    UnjudgedSamples,
)
from lightning_gft.callbacks.advice.rules.tokens import (
    ClippedTokens,
    EntropyCollapse,
    EntropyRise,
    NegativeWeight,
    SamplingMismatch,
)
from lightning_gft.callbacks.advice.rules.updates import (
    GradientSpikes,
    LargeSteps,
    SkippedUpdates,
    SmallLoss,
    StillWeights,
)
from lightning_gft.callbacks.advice.rules.validation import AccuracyFell

RULES: tuple[Rule, ...] = (
    ExpertScoresZero(),
    TeacherScoresZero(),
    ScoringFails(),
    UnjudgedSamples(),
    SamplingMismatch(),
    StillWeights(),
    LargeSteps(),
    SkippedUpdates(),
    GradientSpikes(),
    CutOff(),
    LongerResponses(),
    EqualGroups(),
    Duplicates(),
    EntropyCollapse(),
    EntropyRise(),
    NegativeWeight(),
    ClippedTokens(),
    RewardFell(),
    AccuracyFell(),
    FlatReward(),
    SmallLoss(),
)
"""The rules in the order of their evaluation: causes before effects."""

__all__ = ["RULES"]
