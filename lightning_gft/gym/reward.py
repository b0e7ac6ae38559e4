"""The reward for tasks of reasoning-gym: their own scorers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from typing_extensions import override

from lightning_gft.checks import check_number, did_you_mean
from lightning_gft.errors import GFTValueError
from lightning_gft.extras import require
from lightning_gft.gym.answers import GYM_TEMPLATE, AnswerTemplate
from lightning_gft.gym.entries import ENTRY_COLUMN, read_entry
from lightning_gft.gym.making import AnswerScorer
from lightning_gft.rewards.judged import JudgedReward


class ReasoningGymReward(JudgedReward):
    r"""What a task's own scorer gives the answer of a response, for rows of a ``ReasoningGymDataModule``.

    The rows may come from there, or from files that were made of them, as ``predict`` does. Scorers work in processes
    of their own, within limits of time and memory; nine of them would run an answer as Python, and here do not. A
    response without an answer scores 0, and is counted as ``no_answer``.

    Many scorers give a part of the score for a wrong answer: to a text that holds the right one somewhere, to any
    number, even to nothing. So a response gets 1 by default only where the scorer gives its full score.

    Args:
        answer_template: Text around the answer, ``{answer}``, as the prompt asks for it: ``<answer>{answer}</answer>``
            for tags, ``####{answer}`` for what follows a marker, ``\boxed{{answer}}``, or ``{answer}`` for the whole
            response. The last one in a response counts.
        threshold: A score of at least this is 1, any other 0; null keeps partial scores.
        seconds: Longest time to score a response.
        memory_mb: Most memory that scoring a response may take, in MiB; null for no limit.
        workers: Number of processes; by default the cores that this process may use.
        failed_score: What a response scores whose check hangs, crashes, raises or runs out of memory. Some scorers
            raise where an answer is not what they expect.
        weight: What the score counts in the total.
        special_tokens: Whether the responses keep their special tokens.

    Raises:
        ModuleNotFoundError: If reasoning-gym is not installed.
        ValueError: If the template has no place for an answer, or a number is out of range.
        TypeError: If a number is none.

    Example:
        >>> ReasoningGymReward(answer_template="#{answer}").answer.read("2 + 2 = 4 #4")
        '4'
    """

    def __init__(
        self,
        answer_template: str = GYM_TEMPLATE,
        threshold: float | None = 1.0,
        seconds: float = 10.0,
        memory_mb: int | None = 1024,
        workers: int | None = None,
        failed_score: float = 0.0,
        weight: float = 1.0,
        special_tokens: bool = False,
    ) -> None:
        require("reasoning_gym", setting="ReasoningGymReward", extra="gym")
        if threshold is not None:
            threshold = check_number(
                "threshold", threshold, above=0, most=1, otherwise="null for partial scores", of=type(self).__name__
            )
        super().__init__(
            AnswerScorer(threshold),
            seconds=seconds,
            memory_mb=memory_mb,
            workers=workers,
            failed_score=failed_score,
            weight=weight,
            special_tokens=special_tokens,
        )
        self.answer_template = answer_template
        self.answer = AnswerTemplate(answer_template)
        self.threshold = threshold
        self._unanswered = 0

    @override
    def item(self, response: str, reference: Any, columns: Mapping[str, Any]) -> tuple[str, str | None]:
        answer = self.answer.read(response)
        self._unanswered += answer is None
        return _entry_text(columns), answer

    @override
    def quick(self, item: tuple[str, str | None]) -> float | None:
        return 0.0 if item[1] is None else None

    @override
    def reads_answers(self) -> bool:
        return True

    @override
    def read_answer(self, response: str, columns: Mapping[str, Any]) -> str | None:
        return self.answer.read(response) or None

    @override
    def check_row(self, reference: Any, columns: Mapping[str, Any]) -> None:
        from reasoning_gym.factory import DATASETS

        stored = read_entry(_entry_text(columns))
        if stored.task not in DATASETS:
            raise GFTValueError(
                f"the column {ENTRY_COLUMN!r}: expected a task of the installed reasoning-gym, got {stored.task!r}"
                + did_you_mean(stored.task, DATASETS)
            )
        if (own := stored.scores.get("own", 1.0)) != 1.0:
            raise GFTValueError(
                f"the column {ENTRY_COLUMN!r}: expected an entry of {stored.task} whose own answer scores 1, got one "
                f"whose answer scores {own:g}; take the row out"
            )

    @override
    def compute(self) -> dict[str, Tensor | float]:
        return {**super().compute(), "no_answer": self._unanswered}

    @override
    def reset(self) -> None:
        super().reset()
        self._unanswered = 0


def _entry_text(columns: Mapping[str, Any]) -> Any:
    if ENTRY_COLUMN not in columns:
        raise GFTValueError(
            f"the data: expected a column {ENTRY_COLUMN!r}, which ReasoningGymDataModule writes, got "
            f"{', '.join(map(repr, columns)) or 'none'}; use rows of a ReasoningGymDataModule"
        )
    return columns[ENTRY_COLUMN]
