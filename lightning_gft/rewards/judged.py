"""The base class of rewards that judge each response by itself, in worker processes that can be killed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from typing_extensions import override

from lightning_gft.parts import CompositePart, Part
from lightning_gft.rewards.base import Reward
from lightning_gft.rewards.failures import Failed
from lightning_gft.rewards.items import ItemScorer
from lightning_gft.rewards.pool import WorkerPool


class JudgedReward(CompositePart, Reward):
    """Scores each response by a task in a :class:`~lightning_gft.rewards.pool.WorkerPool`.

    A subclass passes its task to this constructor, and returns the task's input for a response from :meth:`item`. The
    task returns the score, or ``None`` if the reward does not apply. :meth:`quick` may answer items that need no
    process. A response whose check hangs, crashes, raises or runs out of memory scores ``failed_score``. It is counted
    as ``timeouts``, ``crashes``, ``errors`` or ``memory``, and a warning shows the first response of each kind in a
    run.

    Put the task in a module that imports what it needs at its top, but neither torch nor this module: workers import it
    and then start quickly. An object's ``preload`` imports optional libraries, see
    :class:`~lightning_gft.rewards.pool.WorkerPool`. Items must be picklable and should be small. Equal items are judged
    once, and their scores are cached; failures are not, as the machine may only have been busy.

    Args:
        task: Function of one item, or a callable object; see :class:`~lightning_gft.rewards.pool.WorkerPool`.
        seconds: Longest time of an item.
        memory_mb: Most memory, in MiB, that a worker may allocate in addition to that after its start; ``None`` for no
            limit.
        workers: Number of worker processes; by default the number of cores that this process may use.
        failed_score: Score of a response whose check hangs, crashes, raises or runs out of memory.
        cache_size: Number of scores to cache.
        weight: Weight of the score in the total.
        special_tokens: Whether responses are decoded with their special tokens.

    Example:
        >>> import math
        >>> class Root(JudgedReward):
        ...     def __init__(self):
        ...         super().__init__(math.sqrt, seconds=10, workers=1, failed_score=-1.0)
        ...     def item(self, response, reference, columns):
        ...         return float(response)
        >>> reward = Root()
        >>> reward(prompts=["?"] * 2, responses=["4", "9"], references=[None] * 2)
        [2.0, 3.0]
        >>> reward.close()
    """

    def __init__(
        self,
        task: Callable[[Any], float | None],
        *,
        seconds: float = 5.0,
        memory_mb: int | None = 1024,
        workers: int | None = None,
        failed_score: float = 0.0,
        cache_size: int = 100_000,
        weight: float = 1.0,
        special_tokens: bool = False,
    ) -> None:
        super().__init__(weight, special_tokens)
        of = type(self).__name__
        self.pool = WorkerPool(task, seconds=seconds, memory_mb=memory_mb, workers=workers, of=of)
        self._scorer = ItemScorer(self.pool, of, failed_score, cache_size)

    @property
    def failed_score(self) -> float:
        """Score of a response whose check fails."""
        return self._scorer.failed_score

    @abstractmethod
    def item(self, response: str, reference: Any, columns: Mapping[str, Any]) -> Any:
        """Return the task's input for a response; equal items must have equal scores.

        Args:
            response: Text of the response.
            reference: Its reference.
            columns: Row of the data by column, and the facts that the reward asks for.
        """

    def quick(self, item: Any) -> float | Failed | None:
        """Return the score or the failure of an item that needs no process, or ``None`` for any other item."""
        return None

    def __call__(
        self, *, prompts: Sequence[str], responses: Sequence[str], references: Sequence[Any], **columns: Sequence[Any]
    ) -> Tensor | Sequence[float | None]:
        """Return ``N`` scores; see :meth:`Reward.__call__`."""
        rows = [{name: values[number] for name, values in columns.items()} for number in range(len(responses))]
        items = [self.item(*of) for of in zip(responses, references, rows, strict=True)]
        return self._scorer.scores(items, responses, self.quick)

    @override
    def within(self) -> tuple[Part, ...]:
        return (self._scorer,)
