"""Scores the demonstrations of the data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lightning_gft.data import Example
from lightning_gft.evaluation import Evaluator
from lightning_gft.inspection.report import RewardReport, Verdict, Wrong
from lightning_gft.sampler import GroupSampler, score_demonstrations
from lightning_gft.types import Response

_AT_ONCE = 1024
_LISTED = 100


def judge(
    stage: str,
    sampler: GroupSampler,
    rows: Sequence[Example],
    role: str,
    evaluator: Evaluator,
    tokenizer: PreTrainedTokenizerBase,
) -> Verdict | None:
    """Return the scores of all demonstrations of a role by a stage's rewards, or ``None`` without demonstrations.

    Args:
        stage: Name of the stage.
        sampler: The sampler with the rewards.
        rows: The training data.
        role: ``"expert"`` or ``"teacher"``.
        evaluator: Determines which reward decides whether a demonstration is right, and from which score on.
        tokenizer: The policy's tokenizer.

    Raises:
        RewardError: If a reward fails.
    """
    given = [(example, answer) for example in rows for answer in example.demonstrations[role]]
    if not given:
        return None
    measured_by = evaluator.reward_name(sampler.rewards)
    least = evaluator.settings.correct_reward
    parts = [given[start : start + _AT_ONCE] for start in range(0, len(given), _AT_ONCE)]
    scored = [score_demonstrations(sampler, part, role, tokenizer) for part in parts]
    rewards = {name: torch.cat([of_part.parts[name] for of_part in scored]) for name in sampler.rewards}
    verdict = Verdict(
        stage,
        role,
        measured_by,
        count=len(given),
        total=float(torch.cat([of_part.rewards for of_part in scored]).mean()),
        rewards={name: _reward_report(scores, least) for name, scores in rewards.items()},
    )
    texts = [text for of_part in scored for text in of_part.texts]
    wrong = (~(rewards[measured_by] >= least)).nonzero().flatten().tolist()
    verdict.wrong = len(wrong)
    verdict.examples = [_wrong(given[n], texts[n], n, rewards) for n in wrong[:_LISTED]]
    return verdict


def _reward_report(scores: Tensor, least: float) -> RewardReport:
    applying = scores[~scores.isnan()]
    mean = float(applying.mean()) if len(applying) else None
    return RewardReport(mean, len(applying), int((applying >= least).sum()))


def _wrong(given: tuple[Example, Response], text: str, n: int, rewards: Mapping[str, Tensor]) -> Wrong:
    example, _ = given
    scores = {name: float(part[n]) for name, part in rewards.items()}
    return Wrong(
        example.row,
        text,
        example.reference,
        {name: None if math.isnan(score) else score for name, score in scores.items()},
    )
