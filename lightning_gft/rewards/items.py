"""Scores single items by a pool: equal items only once, with a cache, counts of failures and warnings."""

from __future__ import annotations

import hashlib
import pickle
import warnings
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor
from typing_extensions import override

from lightning_gft.checks import check_count, check_number
from lightning_gft.parts import CompositePart, Part
from lightning_gft.rewards.failures import Failed, FailureKind, RewardError
from lightning_gft.rewards.pool import WorkerPool
from lightning_gft.rewards.text import shown

_FIGURES: dict[FailureKind, str] = {"timeout": "timeouts", "memory": "memory", "crash": "crashes", "error": "errors"}


_REMEDY = "raise `timeout` (`seconds` of TimeLimitedReward) or `memory_mb`, or correct the reward"


class FailureCounts(Part):
    """Counts failures by their kind, and warns of the first of each kind in a run.

    Args:
        of: Name of the reward in the warning.

    Example:
        >>> counts = FailureCounts("NumericReward")
        >>> counts.add(Failed("timeout", "took too long"))
        >>> counts.compute()
        {'timeouts': 1, 'memory': 0, 'crashes': 0, 'errors': 0}

    Attributes:
        judged: Responses that the reward has scored since the run began, failures included.
        failed: Failures since the run began.
    """

    def __init__(self, of: str) -> None:
        self.of = of
        self._warned: set[FailureKind] = set()
        self.judged = self.failed = 0
        self.reset()

    @override
    def setup(self) -> None:
        self._warned.clear()  # a new run warns again
        self.judged = self.failed = 0

    def add(self, failure: Failed) -> None:
        """Count a failure."""
        self._counts[_FIGURES[failure.kind]] += 1
        self.failed += 1

    def warn(self, failure: Failed, response: str, failed_score: float) -> None:
        """Warn of a failure if it is the first of its kind."""
        if failure.kind in self._warned:
            return
        self._warned.add(failure.kind)
        warnings.warn(  # on every rank, as other ranks may have no failure
            f"{self.of} {failure.message}; the response scores failed_score={failed_score:g}, and every such one is "
            f"counted as {_FIGURES[failure.kind]}. response: {shown(response)}",
            stacklevel=2,
        )

    @override
    def compute(self) -> dict[str, Tensor | float]:
        return dict(self._counts)

    @override
    def reset(self) -> None:
        self._counts: dict[str, Tensor | float] = dict.fromkeys(_FIGURES.values(), 0)


def describe_failing(rewards: Mapping[str, Part]) -> str:
    """Return which rewards failed on most responses of the run, and what to do; empty if none did.

    Args:
        rewards: Rewards by name; those without a time limit stop the run if they fail, and are not counted.

    Example:
        >>> counts = FailureCounts("FunctionReward")
        >>> counts.judged = 3
        >>> describe_failing({"mine": counts})
        ''
        >>> for _ in range(2):
        ...     counts.add(Failed("timeout", "took too long"))
        >>> describe_failing({"mine": counts}).partition(";")[0]
        "reward 'mine' exceeded its limits or failed on 2 of 3 responses, which score failed_score"
    """
    failing = []
    for name, reward in rewards.items():
        counts = [*_counts_within(reward)]
        failed, judged = sum(one.failed for one in counts), sum(one.judged for one in counts)
        if failed > judged / 2:
            failing.append(f"reward {name!r} exceeded its limits or failed on {failed} of {judged} responses")
    return f"{', '.join(failing)}, which score failed_score; {_REMEDY}" if failing else ""


def _counts_within(part: Part) -> Iterator[FailureCounts]:
    if isinstance(part, FailureCounts):
        yield part
    for inner in part.within() if isinstance(part, CompositePart) else ():
        yield from _counts_within(inner)


class ItemScorer(CompositePart):
    """Scores items by a pool.

    Args:
        pool: Pool whose task returns the score of an item, or ``None`` if there is none.
        of: Name of the reward in errors and warnings.
        failed_score: Score of an item that fails.
        cache_size: Number of scores to cache; failures are not cached, as the machine may only have been busy.
        stops: Kinds of failures that raise an error instead.
    """

    def __init__(
        self, pool: WorkerPool, of: str, failed_score: float, cache_size: int, stops: Collection[FailureKind] = ()
    ) -> None:
        self.pool, self.stops = pool, stops
        self.failed_score = check_number("failed_score", failed_score, of=of)
        self.cache_size = check_count("cache_size", cache_size, least=0, of=of)
        self.failures = FailureCounts(of)
        self._known: OrderedDict[bytes, float | None] = OrderedDict()

    @override
    def within(self) -> tuple[Part, ...]:
        return (self.failures,)

    @override
    def close(self) -> None:
        super().close()
        self.pool.close()

    def scores(
        self,
        items: Sequence[Any],
        responses: Sequence[str],
        quick: Callable[[Any], float | Failed | None] = lambda item: None,
    ) -> list[float | None]:
        """Return the score of each item.

        Args:
            items: Picklable items; equal ones must have equal scores.
            responses: Texts to show in warnings.
            quick: Returns the score or the failure of an item that needs no process, or ``None`` for any other item.

        Raises:
            RewardError: If a failure stops the run.
        """
        self.failures.judged += len(items)
        keys = [hashlib.blake2b(pickle.dumps(item), digest_size=16).digest() for item in items]
        results = self._results(dict(zip(keys, items, strict=True)), quick)
        return [self._score(results[key], response) for key, response in zip(keys, responses, strict=True)]

    def _results(self, items: Mapping[bytes, Any], quick: Callable[[Any], float | Failed | None]) -> dict[bytes, Any]:
        results: dict[bytes, Any] = {}
        for key, item in items.items():
            if key in self._known:
                results[key] = self._known[key]
            elif (score := quick(item)) is not None:
                results[key] = score
        asked = {key: item for key, item in items.items() if key not in results}
        results.update(zip(asked, self.pool.map(list(asked.values())), strict=True))
        self._remember(results)
        return results

    def _remember(self, results: Mapping[bytes, Any]) -> None:
        for key, result in results.items():
            if not isinstance(result, Failed):
                self._known[key] = result
                self._known.move_to_end(key)  # keeps recently used scores
        while len(self._known) > self.cache_size:
            self._known.popitem(last=False)

    def _score(self, result: float | Failed | None, response: str) -> float | None:
        if not isinstance(result, Failed):
            return result
        self.failures.add(result)
        if result.kind in self.stops:
            raise RewardError(result.message)
        self.failures.warn(result, response, self.failed_score)
        return self.failed_score
