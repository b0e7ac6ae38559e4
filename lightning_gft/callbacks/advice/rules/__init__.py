"""The rules of advice, each for one thing that goes wrong."""

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
"""Causes before effects: that is the order in which they are asked."""

__all__ = ["RULES"]
