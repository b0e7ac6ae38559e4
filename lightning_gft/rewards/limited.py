"""A time limit for any reward."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import Tensor
from typing_extensions import override

from lightning_gft.checks import check_kind, check_number
from lightning_gft.parts import CompositePart, Part
from lightning_gft.rewards.base import ResponseFact, Reward
from lightning_gft.rewards.failures import Failed, RewardError
from lightning_gft.rewards.function import as_rewards
from lightning_gft.rewards.items import FailureCounts
from lightning_gft.rewards.pool import WorkerPool
from lightning_gft.rewards.task import RewardTask
from lightning_gft.rewards.text import shown

_Batch = Mapping[str, Sequence[Any]]


class TimeLimitedReward(CompositePart, Reward):
    """Any reward, with a limit on the time of a call.

    The reward runs in its own process, from its ``setup`` to its ``close``. If a call exceeds the limit, the process is
    killed, and the run stops with an error that shows the response; to find it, the limit applies to each response
    alone. With ``failed_score`` the run continues: each response that hangs, crashes or runs out of memory by itself
    gets that score, is counted, and is shown in a warning. The other responses are scored again without them. An
    exception of the reward always stops the run.

    The weight and the special tokens are those of the inner reward. Its figures are logged together with ``calls``,
    their total ``seconds``, ``timeouts``, ``crashes``, ``memory`` and ``errors``.

    Args:
        reward: The inner reward. It is sent to the process once, so it must not hold anything bound to this process,
            such as an open file.
        seconds: Longest time of a call, which scores all responses of a batch; the start of the process is not counted.
        failed_score: Score of a response on which the reward hangs, crashes or runs out of memory; ``None`` stops the
            run.
        memory_mb: Most memory, in MiB, that the process may allocate in addition to that after its start, on Linux;
            ``None`` for no limit.

    Raises:
        TypeError: If ``reward`` is not a reward.
        ValueError: If a number is out of range.

    Example:
        >>> from lightning_gft.rewards import FormatReward
        >>> TimeLimitedReward(FormatReward(".{,10}", weight=0.5), seconds=10).weight
        0.5
    """

    def __init__(
        self, reward: Reward, seconds: float, failed_score: float | None = None, memory_mb: int | None = None
    ) -> None:
        reward = as_rewards({"reward": reward})["reward"]  # may be a plain function in Python
        check_kind("reward", reward, Reward, "FormatReward('.*')")
        super().__init__(reward.weight, reward.special_tokens)
        of = type(self).__name__
        self.reward = reward
        self.seconds = check_number("seconds", seconds, above=0, of=of)
        self.failed_score = None if failed_score is None else check_number("failed_score", failed_score, of=of)
        self._pool = WorkerPool(RewardTask(reward), seconds=seconds, memory_mb=memory_mb, workers=1, of=of)
        self._failures = FailureCounts(of)
        self.reset()

    @override
    def needs(self) -> frozenset[ResponseFact]:
        return self.reward.needs()

    @override
    def measures(self) -> bool:
        return self.reward.measures()

    @override
    def reads_answers(self) -> bool:
        return self.reward.reads_answers()

    @override
    def read_answer(self, response: str, columns: Mapping[str, Any]) -> str | None:
        return self.reward.read_answer(response, columns)  # in this process, since reading answers is cheap

    @override
    def read_ahead(self, references: Sequence[Any]) -> None:
        self.reward.read_ahead(references)

    @override
    def check_row(self, reference: Any, columns: Mapping[str, Any]) -> None:
        self.reward.check_row(reference, columns)

    @override
    def check_tokens(self, special_tokens: Collection[str]) -> None:
        self.reward.check_tokens(special_tokens)

    def __call__(
        self, *, prompts: Sequence[str], responses: Sequence[str], references: Sequence[Any], **columns: Sequence[Any]
    ) -> Tensor | Sequence[float | None]:
        """Return the scores of the inner reward; see :meth:`Reward.__call__`."""
        self._begin()
        self._failures.judged += len(responses)
        start = time.monotonic()
        try:
            return self._score({**columns, "prompts": prompts, "responses": responses, "references": references})
        finally:
            self._counts["calls"] += 1
            self._counts["seconds"] += time.monotonic() - start

    @override
    def within(self) -> tuple[Part, ...]:
        return (self._failures,)  # the inner reward lives in its process

    @override
    def setup(self) -> None:
        super().setup()
        self._begin()

    @override
    def close(self) -> None:
        try:
            if self._pool.is_running:
                self._ask("close")
        finally:
            self._pool.close()

    @override
    def compute(self) -> dict[str, Tensor | float]:
        figures = self._ask("compute") if self._pool.is_running else {}
        return {**figures, **self._counts, **super().compute()}

    @override
    def reset(self) -> None:
        super().reset()
        self._counts = {"calls": 0, "seconds": 0.0}
        if self._pool.is_running:
            self._ask("reset")

    def _begin(self) -> None:
        """Start the process and set up the reward in it, if it is not running; no call's time includes this."""
        self._pool.start(1)
        self._pool.wait()

    def _score(self, batch: _Batch) -> Tensor | Sequence[float | None]:
        if self.failed_score is None:
            return self._ask("score", batch)  # type: ignore[no-any-return]
        scores = self._call("score", batch)
        if not isinstance(scores, Failed):
            return scores  # type: ignore[no-any-return]
        failures = self._failing(batch, scores)
        rest = [number for number in range(len(batch["responses"])) if number not in failures]
        kept = iter(self._numbers(self._ask("score", _chosen(batch, rest)), len(rest)) if rest else [])
        for number, failure in failures.items():
            self._failures.add(failure)
            self._failures.warn(failure, batch["responses"][number], self.failed_score)
        return [self.failed_score if n in failures else next(kept) for n in range(len(batch["responses"]))]

    def _failing(self, batch: _Batch, failure: Failed) -> dict[int, Failed]:
        """Return the responses of a failed batch that fail by themselves, by their index."""
        count = len(batch["responses"])
        alone = [failure] if count == 1 else [self._call("score", _chosen(batch, [n])) for n in range(count)]
        failures = {number: result for number, result in enumerate(alone) if isinstance(result, Failed)}
        stopping = [one for one in failures.values() if one.kind == "error"]
        if stopping or not failures:
            self._failures.add(failure)
            raise RewardError((stopping or [failure])[0].message)
        return failures

    def _ask(self, method: str, batch: _Batch | None = None) -> Any:
        answer = self._call(method, batch or {})
        if isinstance(answer, Failed):
            self._failures.add(answer)
            raise RewardError(answer.message if method == "score" else f"{method} {answer.message}")
        return answer

    def _call(self, method: str, batch: _Batch) -> Any:
        self._pool.seconds = self.seconds  # may have changed during the run
        return self._pool.map([(method, batch)])[0]

    def _numbers(self, scores: Any, count: int) -> list[Any]:
        numbers = scores.tolist() if hasattr(scores, "tolist") else scores
        if not isinstance(numbers, list | tuple) or len(numbers) != count:
            raise RewardError(f"returned {shown(scores)}; expected a list with a number for each of {count} responses")
        return list(numbers)


def _chosen(batch: _Batch, numbers: Sequence[int]) -> _Batch:
    return {name: [values[number] for number in numbers] for name, values in batch.items()}
