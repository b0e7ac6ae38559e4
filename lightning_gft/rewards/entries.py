"""Checks the scores that a reward returns, with the same error everywhere."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from torch import Tensor

from lightning_gft.rewards.failures import RewardError
from lightning_gft.rewards.text import shown


def check_entries(scores: Any, count: int, by: str = "") -> Any:
    """Return scores, with those of numpy or pandas as a list, or raise an error for other entries.

    Args:
        scores: A reward's scores of a batch.
        count: Number of responses of the batch.
        by: What has returned the scores, if the error does not begin with it.

    Raises:
        RewardError: If they are no tensor and no list of numbers and ``None``. Their number and size are not checked.

    Example:
        >>> check_entries((1, None), count=2)
        (1, None)
        >>> check_entries(["good"], count=1, by="my_rewards.judge")
        Traceback (most recent call last):
        lightning_gft.rewards.failures.RewardError: returned ['good'], a list, by my_rewards.judge; expected a list, ...
    """
    if hasattr(scores, "tolist") and not isinstance(scores, Tensor):
        scores = scores.tolist()
    if isinstance(scores, Tensor) or (isinstance(scores, list | tuple) and all(map(_is_score, scores))):
        return scores
    raise RewardError(
        f"returned {shown(scores)}, a {type(scores).__name__}{by and f', by {by}'}; expected a list, a "
        f"tensor or an array with a number for each of {count} responses, or None for those it does not apply to"
    )


def check_finite(scores: Any) -> Any:
    """Return scores from :func:`check_entries`, or raise an error for NaN and infinity.

    Raises:
        RewardError: If a score is not finite.

    Example:
        >>> check_finite([1.0, None])
        [1.0, None]
    """
    numbers = scores.flatten().tolist() if isinstance(scores, Tensor) else scores
    for number, score in enumerate(numbers):
        if score is not None and not math.isfinite(float(score)):
            raise RewardError(
                f"returned {float(score)} for response {number} of {len(numbers)}; return a finite number, or None if "
                "the reward does not apply"
            )
    return scores


def _is_score(score: Any) -> bool:
    return score is None or isinstance(score, Real) or (isinstance(score, Tensor) and score.numel() == 1)
