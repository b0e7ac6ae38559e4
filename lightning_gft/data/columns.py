"""Which column of a row plays which part."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lightning_gft.checks import check_marker
from lightning_gft.data.errors import row_name, shorten
from lightning_gft.data.prompts import Prompt, check_prompt, prompt_text

Row = dict[str, Any]


class NumberedRows(list[Row]):
    """Rows chosen from more, which know where among them they stood: that is what errors call them by.

    Args:
        rows: The rows.
        positions: Position of each in the data as loaded; with the name of its split where there are several.

    Example:
        >>> rows = NumberedRows([{"prompt": "1+1="}], positions=[7])
        >>> [text.row for text in Columns(answer_column=None).read(rows)]
        [7]
    """

    def __init__(self, rows: Sequence[Row], positions: Sequence[int | str]) -> None:
        super().__init__(rows)
        self.positions = positions


@dataclass(frozen=True, slots=True)
class TextExample:
    """A row by the parts that its columns play, before tokenisation.

    Args:
        prompt: A text or a conversation.
        reference: What a verifier compares to; ``None`` if there is none.
        demonstrations: Texts of given responses by role, none of them blank.
        columns: The row itself.
        row: Its position in the data as loaded.
    """

    prompt: Prompt
    reference: Any
    demonstrations: dict[str, list[str]]
    columns: Row
    row: int | str


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
        unfinished_demonstrations: Drop a demonstration that the data call unfinished, or refuse it.

    A blank demonstration counts as missing, as null does: the end of sequence alone is no answer. A column
    ``<name>_responses`` may have a column ``<name>_finished`` beside it, a truth value for each of its texts, as
    :class:`~lightning_gft.callbacks.GroupWriter` writes it; a text that is not finished counts as missing too, or is an
    error.

    Raises:
        ValueError: If ``answer_marker`` is null.

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
    unfinished_demonstrations: Literal["error", "drop"] = "drop"

    def __post_init__(self) -> None:
        check_marker("answer_marker", self.answer_marker)

    @property
    def demonstration_columns(self) -> dict[str, str]:
        """The columns that hold demonstrations, by role."""
        columns = {"expert": self.expert_column, "teacher": self.teacher_column}
        return {role: column for role, column in columns.items() if column is not None}

    def check(self, available: Sequence[str]) -> None:
        """Refuse a name that is not among the columns that there are.

        Args:
            available: Columns of the data.

        Raises:
            ValueError: If a named column is missing.
        """
        fields = ("prompt_column", "answer_column", "expert_column", "teacher_column")
        named = {field: getattr(self, field) for field in fields}
        unused = [column for column in available if column not in named.values()]
        for field, column in named.items():
            if column is None or column in available:
                continue
            closest = difflib.get_close_matches(column, unused, n=1, cutoff=0.5)
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
            ValueError: If a row has no prompt, or its answer lacks the marker.
            TypeError: If a prompt or a demonstration is of another type.
        """
        positions = rows.positions if isinstance(rows, NumberedRows) else range(len(rows))
        return [
            TextExample(
                prompt=self._prompt(row, number),
                reference=self._reference(row, number),
                demonstrations={
                    role: self._demonstrations(row, column, number)
                    for role, column in self.demonstration_columns.items()
                },
                columns=row,
                row=number,
            )
            for row, number in zip(rows, positions, strict=True)
        ]

    def count_blank(self, rows: Sequence[Row]) -> Counter[str]:
        """Return how many demonstrations of each role are blank texts, which :meth:`read` leaves out.

        Args:
            rows: Rows that have the columns.
        """
        blank = Counter[str]()
        for role, column in self.demonstration_columns.items():
            cells = (row[column] if isinstance(row[column], list) else [row[column]] for row in rows)
            blank[role] = sum(isinstance(text, str) and not text.strip() for cell in cells for text in cell)
        return +blank

    def count_unfinished(self, rows: Sequence[Row]) -> Counter[str]:
        """Return how many demonstrations of each role are unfinished, which :meth:`read` leaves out.

        Args:
            rows: Rows that have the columns.
        """
        unfinished = Counter[str]()
        for role, column in self.demonstration_columns.items():
            flags = (row.get(_flag_column(column)) for row in rows)
            unfinished[role] = sum(_listed(cell).count(False) for cell in flags)
        return +unfinished

    def _demonstrations(self, row: Row, column: str, number: int | str) -> list[str]:
        texts, flag_column = _texts(row[column], column, number), _flag_column(column)
        if row.get(flag_column) is not None:
            finished = _listed(row[flag_column])
            if len(finished) != len(texts) or not all(isinstance(flag, bool) for flag in finished):
                raise TypeError(
                    f"{row_name(number, flag_column)}: expected a truth value for each of {len(texts)} texts in "
                    f"{column!r}, got {shorten(row[flag_column])}; correct it, or take the column out"
                )
            if self.unfinished_demonstrations == "error" and not all(finished):
                raise ValueError(
                    f"{row_name(number, column)}: expected finished responses, got one that {flag_column!r} calls "
                    "unfinished; take it out, or set `unfinished_demonstrations: drop`"
                )
            texts = [text for text, flag in zip(texts, finished, strict=True) if flag]
        return [text for text in texts if text.strip()]

    def _prompt(self, row: Row, number: int | str) -> Prompt:
        prompt: Prompt = row[self.prompt_column]
        name = row_name(number, self.prompt_column)
        try:
            check_prompt(prompt)
        except TypeError as error:
            raise TypeError(f"{name}: {error}") from error
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        if not prompt_text(prompt).strip():
            raise ValueError(f"{name}: the prompt is empty: {shorten(prompt)}. Take the row out, or give it a prompt")
        return prompt

    def _reference(self, row: Row, number: int | str) -> Any:
        if self.answer_column is None:
            return None
        answer = row[self.answer_column]
        if not self.answer_marker:
            return answer
        _, marker, reference = str(answer).rpartition(self.answer_marker)
        if not marker:
            name = row_name(number, self.answer_column)
            raise ValueError(f"{name}: no answer_marker={self.answer_marker!r} in {shorten(answer)}")
        return reference.strip()


def _texts(cell: Any, column: str, number: int | str) -> list[str]:
    texts = _listed(cell)
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(f"{row_name(number, column)}: must hold a text or a list of texts, not {shorten(cell)}")
    return texts


def _listed(cell: Any) -> list[Any]:
    return [] if cell is None else cell if isinstance(cell, list) else [cell]


def _flag_column(column: str) -> str:
    """Return the column that says which of the responses in another are finished; empty if it can have none."""
    name = column.removesuffix("_responses")
    return "" if name == column else f"{name}_finished"
