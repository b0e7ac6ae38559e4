"""Sums and numbers of what the policy's own samples say of it: how hard prompts are for it, how much samples differ."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lightning_gft.metrics.counted import CountedGroups
from lightning_gft.metrics.means import Totals


def difficulty_totals(counted: CountedGroups, correct: Tensor) -> Totals:
    """Return those of groups whose own samples are all correct, all wrong or mixed.

    Groups without an own sample, and samples to which the reward does not apply, have no part in them.

    Args:
        counted: The groups.
        correct: ``[N]``, see :class:`~lightning_gft.metrics.Correctness`.
    """
    told = counted.own & ~correct.isnan()
    number = counted.group[told].bincount()
    right = counted.group[told & (correct == 1)].bincount(minlength=len(number))
    groups = float((number > 0).sum())
    all_right, all_wrong = (float(((right == wanted) & (number > 0)).sum()) for wanted in (number, 0))
    return {
        "frac_groups_all_right": (all_right, groups),
        "frac_groups_all_wrong": (all_wrong, groups),
        "frac_groups_mixed": (groups - all_right - all_wrong, groups),
    }


def duplicate_totals(counted: CountedGroups, texts: Sequence[str]) -> Totals:
    """Return those of own samples whose text an earlier response of their group has, demonstrations among them.

    Args:
        counted: The groups.
        texts: ``N`` texts.
    """
    seen: set[tuple[int, str]] = set()
    duplicates = 0
    for key, own in zip(zip(counted.group.tolist(), texts, strict=True), counted.own.tolist(), strict=True):
        duplicates += own and key in seen
        seen.add(key)
    return {"frac_duplicates": (float(duplicates), float(counted.own.sum()))}


def answer_totals(counted: CountedGroups, answers: Sequence[str | None]) -> Totals:
    """Return those of the different answers that the own samples of a group give; none counts as no answer.

    Args:
        counted: The groups.
        answers: ``N`` answers.
    """
    rows = zip(counted.group.tolist(), answers, counted.own.tolist(), strict=True)
    own = [(group, answer) for group, answer, is_own in rows if is_own]
    different = {(group, answer) for group, answer in own if answer is not None}
    return {"distinct_answers": (float(len(different)), float(len({group for group, _ in own})))}
