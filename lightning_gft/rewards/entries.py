"""What a reward gives, checked where it is called: entries that are no numbers have one error everywhere."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from torch import Tensor

from lightning_gft.rewards.failures import RewardError
from lightning_gft.rewards.text import shown


def check_entries(scores: Any, count: int, by: str = "") -> Any:
    """Return scores, those of numpy or pandas as a list, or refuse what holds something else than numbers and ``None``.

    Args:
        scores: What a reward gives for a batch.
        count: Responses of the batch.
        by: What has given them, where the error does not begin with it.

    Raises:
        RewardError: If they are no tensor and no list of numbers. Their count and their size are not checked.

    Example:
        >>> check_entries((1, None), count=2)
        (1, None)
        >>> check_entries(["good"], count=1, by="my_rewards.judge")
        Traceback (most recent call last):
        lightning_gft.rewards.failures.RewardError: returned ['good'], a list, by my_rewards.judge; expected one ...
    """
    if hasattr(scores, "tolist") and not isinstance(scores, Tensor):
        scores = scores.tolist()
    if isinstance(scores, Tensor) or (isinstance(scores, list | tuple) and all(map(_is_score, scores))):
        return scores
    raise RewardError(
        f"returned {shown(scores)}, a {type(scores).__name__}{by and f', by {by}'}; expected one number for each of "
        f"{count} responses, or None where the reward does not apply, as a tensor, a list or an array"
    )


def check_finite(scores: Any, by: str = "") -> Any:
    """Return scores that :func:`check_entries` has let through, or refuse those that hold NaN or infinity.

    Raises:
        RewardError: If one is not finite.

    Example:
        >>> check_finite([1.0, None])
        [1.0, None]
    """
    numbers = scores.flatten().tolist() if isinstance(scores, Tensor) else scores
    for number, score in enumerate(numbers):
        if score is not None and not math.isfinite(float(score)):
            raise RewardError(
                f"returned {float(score)} for response {number} of {len(numbers)}{by and f', by {by}'}; return a finite "
                "number, or None where the reward does not apply"
            )
    return scores


def _is_score(score: Any) -> bool:
    return score is None or isinstance(score, Real) or (isinstance(score, Tensor) and score.numel() == 1)
