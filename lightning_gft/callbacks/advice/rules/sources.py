"""Rules about demonstrations, teachers and rewards."""

from __future__ import annotations

from typing import ClassVar

from typing_extensions import override

from lightning_gft.callbacks.advice.history import History
from lightning_gft.callbacks.advice.rule import Finding, LimitRule, Rule


class ExpertScoresZero(Rule):
    """In each of the first 5 steps, the expert's responses score 0 or less on average."""

    name = "expert_scores_zero"
    source: ClassVar[str] = "expert"
    figures = ("train/reward_by_source/expert",)

    @override
    def find(self, history: History) -> Finding | None:
        (name,) = self.figures
        rewards = history.first(name, 5)
        if not rewards or max(rewards) > 0:
            return None
        reward = sum(rewards) / len(rewards)
        return Finding(
            {name: reward},
            f"the {self.source}'s responses score {reward:.3g} in every step, so the reward, the references or the "
            f"{self.source}'s responses are wrong; `lightning-gft inspect` with the same configuration shows which",
        )


class TeacherScoresZero(ExpertScoresZero):
    """In each of the first 5 steps, the teacher's responses score 0 or less on average."""

    name = "teacher_scores_zero"
    source = "teacher"
    figures = ("train/reward_by_source/teacher",)


class UnjudgedSamples(LimitRule):
    """Over 5 steps, the teacher does not judge 10% of own samples, so they are not trained on."""

    name = "unjudged_samples"
    figures = ("train/completions/without_teacher_ratio",)
    steps, limit = 5, 0.1
    text = (
        "the teacher did not judge {value:.0%} of own samples, so they teach nothing: their prompts lack what it "
        "reads, or its log-probabilities are not finite; check its demonstrations and its precision"
    )


class ScoringFails(Rule):
    """In each of 10 steps, a reward fails on some responses (timeouts, errors, crashes, memory)."""

    name = "scoring_fails"
    figures = tuple(f"train/rewards/*/{kind}" for kind in ("timeouts", "errors", "crashes", "memory"))

    @override
    def find(self, history: History) -> Finding | None:
        for name in history.names():
            *_, reward, kind = name.split("/")
            counts = history.last(name, 10) if kind in ("timeouts", "errors", "crashes", "memory") else []
            if counts and min(counts) > 0:
                mean = sum(counts) / len(counts)
                return Finding(
                    {name: mean},
                    f"the reward {reward} fails on {mean:.3g} responses a step ({kind}), which score failed_score; "
                    "the first warning shows one: raise its `timeout` (`seconds` of TimeLimitedReward) or "
                    "`memory_mb`, or correct it",
                )
        return None
