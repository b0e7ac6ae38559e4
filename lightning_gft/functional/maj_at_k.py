"""The accuracy of a majority vote."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from lightning_gft.errors import GFTValueError


def maj_at_k(answers: Sequence[str | None], correct: Sequence[float]) -> float:
    """Return the probability that the most frequent of ``k`` answers is correct, with ties decided at random.

    Self-consistency, Wang et al. 2022, arXiv 2203.11171. A sample without an answer has no vote; if no sample has one,
    the vote is wrong. If samples with the same answer are judged differently, the answer counts as their mean.

    Args:
        answers: Answers of the ``k`` samples of a prompt, ``None`` for a sample without one.
        correct: 1 for each sample that is correct, 0 for the others.

    Raises:
        ValueError: If there are not as many of both.

    Example:
        >>> maj_at_k(["7", "7", "5", None], [1, 1, 0, 0]), maj_at_k(["7", "5"], [1, 0])
        (1.0, 0.5)
    """
    if len(answers) != len(correct):
        raise GFTValueError(
            f"`correct`: expected one value for each of {len(answers)} answers, got {len(correct)}; give the samples "
            "of one prompt"
        )
    judged: dict[str, list[float]] = {}
    for answer, value in zip(answers, correct, strict=True):
        if answer is not None:
            judged.setdefault(answer, []).append(float(value))
    most = max(map(len, judged.values()), default=0)
    winners = [fmean(values) for values in judged.values() if len(values) == most]
    return fmean(winners) if winners else 0.0
