"""Sums and counts over own samples: how difficult prompts are for the policy, and how much its samples differ."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lightning_gft.metrics.counted import CountedGroups
from lightning_gft.metrics.means import Totals


def difficulty_totals(counted: CountedGroups, correct: Tensor) -> Totals:
    """Return counts of groups whose own samples are all correct, all wrong or mixed.

    Groups without own samples and samples that the reward does not apply to are not counted.

    Args:
        counted: Groups with ``N`` responses.
        correct: ``[N]``, as :meth:`Correctness.judged <lightning_gft.metrics.Correctness.judged>` returns it.
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
    """Return counts of own samples whose text equals that of an earlier response of their group, of any source.

    Args:
        counted: Groups with ``N`` responses.
        texts: ``N`` texts of the responses.
    """
    seen: set[tuple[int, str]] = set()
    duplicates = 0
    for key, own in zip(zip(counted.group.tolist(), texts, strict=True), counted.own.tolist(), strict=True):
        duplicates += own and key in seen
        seen.add(key)
    return {"frac_duplicates": (float(duplicates), float(counted.own.sum()))}


def answer_totals(counted: CountedGroups, answers: Sequence[str | None]) -> Totals:
    """Return sums and counts of the different answers among a group's own samples; ``None`` is not an answer.

    Args:
        counted: Groups with ``N`` responses.
        answers: ``N`` answers that the reward read in the responses.
    """
    rows = zip(counted.group.tolist(), answers, counted.own.tolist(), strict=True)
    own = [(group, answer) for group, answer, is_own in rows if is_own]
    different = {(group, answer) for group, answer in own if answer is not None}
    return {"distinct_answers": (float(len(different)), float(len({group for group, _ in own})))}
