"""Rules about the length of responses."""

from __future__ import annotations

from statistics import fmean

from typing_extensions import override

from lightning_gft.callbacks.advice.history import History
from lightning_gft.callbacks.advice.rule import Finding, Rule, either
from lightning_gft.callbacks.advice.rules.groups import OWN_REWARD

_CLIPPED, _LENGTH = "train/completions/clipped_ratio", "train/completions/mean_length"


class CutOff(Rule):
    """Over 10 steps, half of the own samples reach max_new_tokens without ending."""

    name = "cut_off"
    figures = (_CLIPPED, _LENGTH)

    @override
    def find(self, history: History) -> Finding | None:
        clipped, length = (history.mean(name, 10) for name in self.figures)
        if clipped is None or length is None or clipped < 0.5:
            return None
        return Finding(
            {_CLIPPED: clipped, _LENGTH: length},
            f"{clipped:.0%} of own samples are truncated at max_new_tokens, with {length:.0f} tokens on average, and "
            f"their answers are lost; {self._remedies(history)}",
        )

    def _remedies(self, history: History) -> str:
        masked = history.has("mask_truncated_completions")
        return either(
            "raise max_new_tokens",
            "check that the policy knows its end-of-sequence token",
            "" if history.has("SoftOverlongReward") else "add SoftOverlongReward",
            "" if masked else "set mask_truncated_completions",
        )


class LongerResponses(Rule):
    """Own samples over 10 steps are twice as long as in the first 10 and still grow, but earn no more reward."""

    name = "longer_responses"
    figures = (_LENGTH, OWN_REWARD)
    after = ("cut_off",)

    @override
    def find(self, history: History) -> Finding | None:
        before, recent = history.first_mean(_LENGTH, 10), history.last(_LENGTH, 20)
        rewards = history.first_mean(OWN_REWARD, 10), history.mean(OWN_REWARD, 10)
        if before is None or not recent or history.count(_LENGTH) < 30 or None in rewards:
            return None
        first_reward, reward = (value or 0.0 for value in rewards)
        middle, now = fmean(recent[:10]), fmean(recent[10:])
        if now < 2 * before or now <= middle or reward > first_reward:
            return None
        return Finding(
            {_LENGTH: now, OWN_REWARD: reward},
            f"own samples grew from {before:.0f} to {now:.0f} tokens while their reward went from {first_reward:.3g} "
            f"to {reward:.3g}; {self._remedies(history)}",
        )

    def _remedies(self, history: History) -> str:
        absent = [name for name in ("SoftOverlongReward", "RepetitionPenalty") if not history.has(name)]
        neutral = history.has("token-mean", "constant-length")
        return either(
            f"add {' or '.join(absent)}"
            if absent
            else "raise the weight of SoftOverlongReward or of RepetitionPenalty",
            "lower max_new_tokens"
            if neutral
            else "use a reduction that does not favour length (token-mean, constant-length)",
        )
