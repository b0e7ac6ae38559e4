"""Rules about groups and their rewards."""

from __future__ import annotations

from math import sqrt
from statistics import fmean, variance

from typing_extensions import override

from lightning_gft.callbacks.advice.history import History
from lightning_gft.callbacks.advice.in_place import DEMONSTRATIONS
from lightning_gft.callbacks.advice.rule import Finding, LimitRule, Rule, either

OWN_REWARD = "train/reward_by_source/self"
"""Reward of own samples: it shows the policy's gains, while demonstrations always score the same."""


class EqualGroups(Rule):
    """Over 20 steps, 75% of groups have rewards that are all equal, while the loss learns from differences."""

    name = "equal_groups"
    figures = (
        *("train/frac_reward_zero_std", "train/frac_groups_all_right", "train/frac_groups_all_wrong"),
        *(f"train/reward_by_source/{source}" for source in ("expert", "teacher", "self")),
    )

    @override
    def find(self, history: History) -> Finding | None:
        means = {name: value for name in self.figures if (value := history.mean(name, 20)) is not None}
        equal = means.get(self.figures[0], 0.0)
        if not history.uses_advantages or equal < 0.75:
            return None
        right, wrong = (means.get(name, 0.0) for name in self.figures[1:3])
        if history.failing:
            remedy = history.failing
        elif self._is_constant(history):
            remedy = (
                "from the first step on, all responses of all sources score the same: the reward does not tell better "
                "from worse; check it (lightning-gft inspect)"
            )
        elif right > wrong:
            drop = "" if history.has("PassRateFilter") else "drop those always solved (PassRateFilter)"
            remedy = f"most are solved: {either('use harder prompts', drop)}"
        elif wrong > right:
            given = "" if history.has(DEMONSTRATIONS) else "demonstrations (ExpertSource)"
            remedy = f"most are never solved: use {either('easier prompts', given, 'more num_generations')}"
        else:
            more = "" if history.has("num_groups") else "set num_groups to sample on until groups differ"
            remedy = either("raise num_generations or the temperature", more)
        return Finding(means, f"{equal:.0%} of groups have rewards that are all equal and teach nothing; {remedy}")

    def _is_constant(self, history: History) -> bool:
        """Return whether several sources had one reward from the first step on, before the policy learnt anything."""
        sources = [name for name in self.figures[3:] if history.last(name, 20)]
        rewards = {value for name in sources for value in (*history.first(name, 20), *history.last(name, 20))}
        return len(sources) > 1 and len(rewards) == 1


class Duplicates(LimitRule):
    """Over 20 steps, 80% of own samples repeat another one of their group, which has right and wrong ones in under 25%.

    A policy that masters a task with one right text repeats it, and still differs from it by its mistakes.
    """

    name = "duplicates"
    figures = ("train/frac_duplicates", "train/frac_groups_mixed")
    steps, limit = 20, 0.8
    text = (
        "{value:.0%} of samples repeat another one of their group, so the group explores nothing; raise the "
        "temperature or top_p of the SelfSource, lower the learning rate, or use harder prompts"
    )

    @override
    def find(self, history: History) -> Finding | None:
        mixed = history.mean("train/frac_groups_mixed", self.steps)
        return None if mixed is not None and mixed >= 0.25 else super().find(history)


class RewardFell(Rule):
    """The reward of own samples over 10 steps is below half of that of the first 20 steps, beyond noise."""

    name = "reward_fell"
    figures = (OWN_REWARD,)
    after = ("cut_off", "large_steps")

    @override
    def find(self, history: History) -> Finding | None:
        before, now = history.first(OWN_REWARD, 20), history.last(OWN_REWARD, 10)
        if history.count(OWN_REWARD) < 30 or fmean(now) >= fmean(before) - 3 * _deviation(before, now):
            return None
        if fmean(now) >= fmean(before) / 2:
            return None
        penalty = "raise the beta of KLPenalty" if history.has("KLPenalty") else "add a KL penalty (KLPenalty)"
        return Finding(
            {OWN_REWARD: fmean(now)},
            f"the reward of own samples fell from {fmean(before):.3g} to {fmean(now):.3g}; lower the learning rate, "
            f"{penalty}, or resume from an earlier checkpoint",
        )


class FlatReward(Rule):
    """After 100 steps, the reward of own samples equals that of the first 20 within noise.

    The mean of the last 50 steps counts; a warm-up of the learning rate does not. A reward may be flat after a rise,
    or because it matches that of the demonstrations.
    """

    name = "flat_reward"
    figures = (OWN_REWARD, "train/reward_by_source/expert", "train/frac_groups_all_right", "train/learning_rate")
    after = ("still_weights", "equal_groups", "expert_scores_zero", "reward_fell", "large_steps")

    @override
    def find(self, history: History) -> Finding | None:
        before, now = history.first(OWN_REWARD, 20), history.last(OWN_REWARD, 50)
        if history.count(OWN_REWARD) < 100 or not history.at_full_rate(50):
            return None
        if fmean(now) > fmean(before) + _deviation(before, now) or self._is_solved(history, fmean(now)):
            return None
        return Finding(
            {OWN_REWARD: fmean(now)},
            f"the reward of own samples has not risen in {history.count(OWN_REWARD)} steps: {fmean(before):.3g} at "
            f"first, {fmean(now):.3g} now; raise the learning rate or the batch size, or check that the reward tells "
            "better from worse (lightning-gft inspect)",
        )

    def _is_solved(self, history: History, reward: float) -> bool:
        expert, right = history.mean("train/reward_by_source/expert", 20), history.mean(self.figures[2], 20)
        return (right or 0.0) > 0.5 or (expert is not None and 0 < 0.9 * expert <= reward)


def _deviation(before: list[float], now: list[float]) -> float:
    """Return the standard error of the difference of two means."""
    return sqrt(variance(before) / len(before) + variance(now) / len(now))
