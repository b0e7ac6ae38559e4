"""Which column of a row plays which part."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from lightning_gft.checks import check_marker, shorten
from lightning_gft.data.cells import listed, read_answers, read_conversation, read_variables
from lightning_gft.data.errors import row_name
from lightning_gft.data.prompts import Answer, Prompt, answer_text, is_blank, prompt_text
from lightning_gft.errors import GFTTypeError, GFTValueError

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
        demonstrations: Given responses by role, none of them blank.
        columns: The row itself.
        row: Its position in the data as loaded.
        variables: What the chat template is given beside the messages: the row's ``tools`` and ``documents``.
    """

    prompt: Prompt
    reference: Any
    demonstrations: dict[str, list[Answer]]
    columns: Row
    row: int | str
    variables: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Columns:
    """Names of the columns that hold a row's prompt, reference and demonstrations.

    Args:
        prompt_column: A text or a list of messages.
        answer_column: What the reference is taken from; ``None`` if the data has none.
        expert_column: A text, or a list of texts; ``None`` if the data has none.
        teacher_column: A text, or a list of texts; ``None`` if the data has none.
        answer_marker: The reference is what follows the last of these in the answer, or in each text of a list; if
            empty, the whole answer is it, of whatever type.
        unfinished_demonstrations: Drop a demonstration that the data call unfinished, or refuse it.
        conversation_column: Whole conversations, in place of prompt and expert: the last message is the expert's if it
            is the assistant's, and the others are the prompt. ``answer_column`` may name it too, for that message.
        reads_demonstrations: Whether there is a use for them.

    A demonstration is a text, a message of the assistant's, or a list of texts. A blank one counts as missing, as null
    does: the end of sequence alone is no answer. A column ``<name>_responses`` may have a column ``<name>_finished``
    beside it, a truth value for each of its texts, as :class:`~lightning_gft.callbacks.GroupWriter` writes it; a text
    that is not finished counts as missing too, or is an error.

    Raises:
        ValueError: If ``answer_marker`` is null, or columns stand for the same thing.

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
    conversation_column: str | None = None
    reads_demonstrations: bool = True

    def __post_init__(self) -> None:
        check_marker("answer_marker", self.answer_marker)
        if self.conversation_column is None:
            return
        for name, default in (("prompt_column", "prompt"), ("expert_column", None)):
            if getattr(self, name) != default:
                raise GFTValueError(
                    f"{name}={getattr(self, name)!r}: expected none beside conversation_column="
                    f"{self.conversation_column!r}, which holds the prompt and the expert's answer; leave it out"
                )

    @property
    def demonstration_columns(self) -> dict[str, str]:
        """The columns that hold demonstrations, by role."""
        columns = {"expert": self.conversation_column or self.expert_column, "teacher": self.teacher_column}
        return {role: name for role, name in columns.items() if name is not None and self.reads_demonstrations}

    @property
    def prompt_source(self) -> str:
        """The column that holds the prompt."""
        return self.conversation_column or self.prompt_column

    def field_of(self, role: str) -> str:
        """Return the option that names the column with a role's demonstrations.

        Args:
            role: ``"expert"`` or ``"teacher"``.
        """
        return "conversation_column" if role == "expert" and self.conversation_column else f"{role}_column"

    def without_demonstrations(self) -> Columns:
        """Return the same columns, of which those that hold demonstrations alone need not be there."""
        return replace(self, reads_demonstrations=False)

    def check(self, available: Sequence[str]) -> None:
        """Refuse a name that is not among the columns that there are.

        Args:
            available: Columns of the data.

        Raises:
            ValueError: If a named column is missing.
        """
        named: dict[str, str | None] = {
            "conversation_column" if self.conversation_column else "prompt_column": self.prompt_source,
            "answer_column": self.answer_column,
            **{self.field_of(role): name for role, name in self.demonstration_columns.items()},
        }
        unused = [column for column in available if column not in named.values()]
        for option, column in named.items():
            if column is None or column in available:
                continue
            closest = difflib.get_close_matches(column, unused, n=1, cutoff=0.5)
            last = f", or to {self.conversation_column!r} for the last message" if self.conversation_column else ""
            raise GFTValueError(
                f"{option}={column!r} is not a column of the data, which has {', '.join(map(repr, available))}"
                + (f"; did you mean {closest[0]!r}?" if closest else "")
                + (f"; set it to null if there are no references{last}" if option == "answer_column" else "")
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
        return [self._read(row, number) for row, number in zip(rows, positions, strict=True)]

    def count_blank(self, rows: Sequence[Row]) -> Counter[str]:
        """Return how many demonstrations of each role are blank, which :meth:`read` leaves out.

        Args:
            rows: Rows that have the columns.
        """
        blank = Counter[str]()
        for role, column in self.demonstration_columns.items():
            if column != self.conversation_column:
                blank[role] = sum(is_blank(answer) for row in rows for answer in read_answers(row[column]))
        return +blank

    def count_unfinished(self, rows: Sequence[Row]) -> Counter[str]:
        """Return how many demonstrations of each role are unfinished, which :meth:`read` leaves out.

        Args:
            rows: Rows that have the columns.
        """
        unfinished = Counter[str]()
        for role, column in self.demonstration_columns.items():
            flags = (row.get(_flag_column(column)) for row in rows)
            unfinished[role] = sum(listed(cell).count(False) for cell in flags)
        return +unfinished

    def _read(self, row: Row, number: int | str) -> TextExample:
        prompt, last = self._prompt(row, number)
        used = {self.prompt_source, self.answer_column, *self.demonstration_columns.values()}
        return TextExample(
            prompt=prompt,
            reference=self._reference(row, last, number),
            demonstrations={
                role: last if column == self.conversation_column else self._demonstrations(row, column, number)
                for role, column in self.demonstration_columns.items()
            },
            columns=row,
            row=number,
            variables=read_variables({name: cell for name, cell in row.items() if name not in used}),
        )

    def _demonstrations(self, row: Row, column: str, number: int | str) -> list[Answer]:
        try:
            answers, flag_column = read_answers(row[column]), _flag_column(column)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{row_name(number, column)}: {error}") from error
        if row.get(flag_column) is not None:
            finished = listed(row[flag_column])
            if len(finished) != len(answers) or not all(isinstance(flag, bool) for flag in finished):
                raise GFTTypeError(
                    f"{row_name(number, flag_column)}: expected a truth value for each of {len(answers)} texts in "
                    f"{column!r}, got {shorten(row[flag_column])}; correct it, or take the column out"
                )
            if self.unfinished_demonstrations == "error" and not all(finished):
                raise GFTValueError(
                    f"{row_name(number, column)}: expected finished responses, got one that {flag_column!r} calls "
                    "unfinished; take it out, or set `unfinished_demonstrations: drop`"
                )
            answers = [answer for answer, flag in zip(answers, finished, strict=True) if flag]
        return [answer for answer in answers if not is_blank(answer)]

    def _prompt(self, row: Row, number: int | str) -> tuple[Prompt, list[Answer]]:
        """Return a row's prompt, and the answer to it if they stand in one conversation."""
        name = row_name(number, self.prompt_source)
        try:
            prompt, last = read_conversation(row[self.prompt_source], splits=self.conversation_column is not None)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{name}: {error}") from error
        if not prompt_text(prompt).strip():
            raise GFTValueError(
                f"{name}: the prompt is empty: {shorten(prompt)}. Take the row out, or give it a prompt"
            )
        return prompt, [answer for answer in last if not is_blank(answer)]

    def _reference(self, row: Row, last: list[Answer], number: int | str) -> Any:
        if self.answer_column is None:
            return None
        if self.answer_column == self.conversation_column:
            answer = answer_text(last[0]) if last else None
        else:
            answer = row[self.answer_column]
        if not self.answer_marker:
            return answer
        if isinstance(answer, list):
            return [self._after_marker(text, number) for text in answer]
        return self._after_marker(answer, number)

    def _after_marker(self, answer: Any, number: int | str) -> str:
        name = row_name(number, self.answer_column)
        if not isinstance(answer, str):
            raise GFTValueError(
                f"{name}: expected a text with answer_marker={self.answer_marker!r}, got {shorten(answer)}; set "
                "answer_marker to '' if the column holds the references themselves"
            )
        _, marker, reference = answer.rpartition(self.answer_marker)
        if not marker:
            raise GFTValueError(f"{name}: no answer_marker={self.answer_marker!r} in {shorten(answer)}")
        return reference.strip()


def _flag_column(column: str) -> str:
    """Return the column that says which of the responses in another are finished; empty if it can have none."""
    name = column.removesuffix("_responses")
    return "" if name == column else f"{name}_finished"
