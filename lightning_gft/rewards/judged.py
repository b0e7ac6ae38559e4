"""The base of rewards that judge each response by itself, in worker processes that can be killed."""

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

    A subclass hands its task to this constructor and says in :meth:`item` what the task is given for a response; the
    task returns the score, or ``None`` if the reward does not apply. It may answer in :meth:`quick` what needs no
    process. A response whose check hangs, crashes, raises or runs out of memory scores ``failed_score``. It is counted
    as ``timeouts``, ``crashes``, ``errors`` or ``memory``, and the first of each kind in a run is warned of with its
    text.

    Put the task in a module that imports what it needs at its top, and neither torch nor this one: workers import it,
    and then start in a moment. What is optional an object's ``preload`` imports, see
    :class:`~lightning_gft.rewards.pool.WorkerPool`. Items must be picklable and should be small. Equal items are judged
    once, and their scores are remembered; failures are not, as the machine may only have been busy.

    Args:
        task: Function of one item, or an object that can be called; see
            :class:`~lightning_gft.rewards.pool.WorkerPool`.
        seconds: Longest time of an item.
        memory_mb: Most memory, in MiB, that a worker may take beyond what it has after its start; ``None`` for no
            limit.
        workers: Number of processes; by default the cores that this process may use.
        failed_score: What a response scores whose check hangs, crashes, raises or runs out of memory.
        cache_size: Number of scores that are remembered.
        weight: What the score counts in the total.
        special_tokens: Whether the responses keep their special tokens.

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
        """What a response scores whose check fails."""
        return self._scorer.failed_score

    @abstractmethod
    def item(self, response: str, reference: Any, columns: Mapping[str, Any]) -> Any:
        """Return what the task is given for a response; equal items score the same.

        Args:
            response: The response's text.
            reference: Its reference.
            columns: Its row of the data, by column, and what the reward asks for.
        """

    def quick(self, item: Any) -> float | Failed | None:
        """Return what becomes of an item that needs no process: its score, or a failure; ``None`` for the others."""
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
