"""Which column of a row plays which part."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightning_gft.data.tokenization import Prompt

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TextExample:
    """A row by the parts that its columns play, before tokenisation.

    Args:
        prompt: A text or a conversation.
        reference: What a verifier compares to; ``None`` if there is none.
        demonstrations: Texts of given responses by role.
        columns: The row itself.
    """

    prompt: Prompt
    reference: Any
    demonstrations: dict[str, list[str]]
    columns: Row


@dataclass(frozen=True)
class Columns:
    """Names of the columns that hold a row's prompt, reference and demonstrations.

    Args:
        prompt_column: A text or a list of messages.
        answer_column: What the reference is taken from; ``None`` if the data has none.
        expert_column: A text, or a list of texts; ``None`` if the data has none.
        teacher_column: A text, or a list of texts; ``None`` if the data has none.
        answer_marker: The reference is what follows the last of these in the answer; if empty, the whole
            answer is it.

    Example:
        >>> columns = Columns(prompt_column="question", expert_column="answer", answer_marker="####")
        >>> example, = columns.read([{"question": "1 + 1?", "answer": "1 + 1 = 2 #### 2"}])
        >>> example.reference, example.demonstrations
        ('2', {'expert': ['1 + 1 = 2 #### 2']})
    """

    prompt_column: str = "prompt"
    answer_column: str | None = "answer"
    expert_column: str | None = None
    teacher_column: str | None = None
    answer_marker: str = ""

    def check(self, available: Sequence[str]) -> None:
        """Refuse a name that is not among the columns that there are.

        Args:
            available: Columns of the data.

        Raises:
            ValueError: If a named column is missing.
        """
        for field in ("prompt_column", "answer_column", "expert_column", "teacher_column"):
            column = getattr(self, field)
            if column is None or column in available:
                continue
            closest = difflib.get_close_matches(column, available, n=1, cutoff=0.5)
            raise ValueError(
                f"{field}={column!r} is not a column of the data, which has {', '.join(map(repr, available))}"
                + (f"; did you mean {closest[0]!r}?" if closest else "")
                + ("; set it to null if there are no references" if field == "answer_column" else "")
            )

    def read(self, rows: Sequence[Row]) -> list[TextExample]:
        """Return each row by its parts.

        Args:
            rows: Rows that have the columns.

        Raises:
            ValueError: If a row's answer lacks the marker.
            TypeError: If a demonstration is not a text.
        """
        return [
            TextExample(
                prompt=row[self.prompt_column],
                reference=self._reference(row, number),
                demonstrations=self._demonstrations(row, number),
                columns=row,
            )
            for number, row in enumerate(rows)
        ]

    def _reference(self, row: Row, number: int) -> Any:
        if self.answer_column is None:
            return None
        answer = row[self.answer_column]
        if not self.answer_marker:
            return answer
        _, marker, reference = str(answer).rpartition(self.answer_marker)
        if not marker:
            raise ValueError(
                f"row {number} has no answer_marker={self.answer_marker!r} in its {self.answer_column!r}: {answer!r}"
            )
        return reference.strip()

    def _demonstrations(self, row: Row, number: int) -> dict[str, list[str]]:
        roles = {"expert": self.expert_column, "teacher": self.teacher_column}
        return {role: _texts(row[column], column, number) for role, column in roles.items() if column is not None}


def _texts(cell: Any, column: str, number: int) -> list[str]:
    texts = [] if cell is None else [cell] if isinstance(cell, str) else cell
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise TypeError(f"row {number}: {column!r} must hold a text or a list of texts, not {cell!r}")
    return texts
