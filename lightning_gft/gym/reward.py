"""The reward for tasks of reasoning-gym, by their own scorers."""

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
    r"""Scores a response with its task's own scorer, for rows of a ``ReasoningGymDataModule``.

    The rows may also come from files made from them, for example by ``predict``. Scorers run in worker processes with
    limits of time and memory. Nine of the gym's scorers would run an answer as Python; here they do not. A response
    without an answer scores 0 and is counted as ``no_answer``.

    Many scorers give a partial score to wrong answers: to a text that contains the right one, to any number, or even to
    an empty answer. By default a response therefore scores 1 only if the scorer gives its full score.

    Args:
        answer_template: Text around the answer, ``{answer}``, in the form that the prompt asks for:
            ``<answer>{answer}</answer>`` for tags, ``####{answer}`` for the text after a marker, ``\boxed{{answer}}``,
            or ``{answer}`` for the whole response. The last answer in a response counts.
        threshold: Least score that counts as 1; lower ones count as 0. Null keeps partial scores.
        seconds: Longest time to score a response.
        memory_mb: Most memory for scoring a response, in MiB; null for no limit.
        workers: Number of worker processes; by default the number of cores that this process may use.
        failed_score: Score of a response whose check hangs, crashes, raises or runs out of memory. Some scorers raise
            for an answer of an unexpected form.
        weight: Weight of the score in the total.
        special_tokens: Whether responses are decoded with their special tokens.

    Raises:
        ModuleNotFoundError: If reasoning-gym is not installed.
        ValueError: If the template has no place for an answer, or a number is out of range.
        TypeError: If a value that must be a number is none.

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
                f"whose answer scores {own:g}; remove the row"
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
