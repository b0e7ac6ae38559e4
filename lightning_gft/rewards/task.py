"""Tasks of the worker processes that run a reward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from lightning_gft.rewards.base import Reward
from lightning_gft.rewards.entries import check_entries, check_finite
from lightning_gft.rewards.failures import RewardError
from lightning_gft.rewards.isolation import call_reward
from lightning_gft.rewards.text import shown

_Batch = Mapping[str, Sequence[Any]]


class _Task:
    def __init__(self, reward: Reward) -> None:
        self.reward = reward

    def setup(self) -> None:
        """Set up the reward in its worker process."""
        self.reward.setup()

    def _score(self, batch: _Batch) -> Any:
        return call_reward(f"reward {type(self.reward).__name__}", self.reward, batch)


class RewardTask(_Task):
    """A reward in a worker process; an item names a method to call."""

    def __call__(self, asked: tuple[str, _Batch]) -> Any:
        """Return the result of a method of the reward; ``"score"`` calls the reward with a batch."""
        method, batch = asked
        if method != "score":
            return _on_cpu(getattr(self.reward, method)())
        return _on_cpu(check_finite(check_entries(self._score(batch), len(batch["responses"]))))


class ScoreOfOne(_Task):
    """A reward in a worker process that is called for one response at a time."""

    def __call__(self, batch: _Batch) -> Any:
        """Return the score of a batch of one response."""
        given = check_finite(check_entries(self._score(batch), 1))
        scores = given.tolist() if isinstance(given, Tensor) else given
        if not isinstance(scores, list | tuple) or len(scores) != 1:
            raise RewardError(
                f"returned {shown(given)} for one response; expected a list, a tensor or an array of one number, or "
                "None in it if the reward does not apply"
            )
        return scores[0]


def _on_cpu(answer: Any) -> Any:
    if isinstance(answer, dict):
        return {name: _on_cpu(value) for name, value in answer.items()}
    return answer.detach().cpu() if isinstance(answer, Tensor) else answer
