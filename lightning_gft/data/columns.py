"""The role of each column: prompt, reference or demonstrations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from lightning_gft.checks import did_you_mean, shorten
from lightning_gft.data.cells import read_answers, read_conversation, read_variables
from lightning_gft.data.errors import naming, row_name
from lightning_gft.data.prompts import Answer, Prompt, answer_text, is_blank, prompt_text
from lightning_gft.errors import GFTTypeError, GFTValueError, remedies
from lightning_gft.markers import check_marker
from lightning_gft.stored import StoredGroup

Row = dict[str, Any]


class StoredRow(dict[str, Any]):
    """The data's row of a stored group, with the group.

    Args:
        group: The stored group that holds the row.
        tokenizer: Fingerprint of the tokenizer of the group's token ids.
    """

    def __init__(self, group: StoredGroup, tokenizer: str) -> None:
        super().__init__(group.columns)
        self.group, self.tokenizer = group, tokenizer


class NumberedRows(list[Row]):
    """Rows selected from more, with their positions among these, which errors refer to.

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
    """A row split into the roles of its columns, before tokenisation.

    Args:
        prompt: A text or a conversation.
        reference: Value that a verifier compares responses with; ``None`` if there is none.
        demonstrations: Given responses by role, none of them blank.
        columns: The whole row by column names.
        row: Position of the row in the data as loaded.
        variables: Variables of the chat template besides messages: the row's ``tools`` and ``documents``.
        left_out: Number of demonstrations that count as missing, by their names in warnings:
            ``{"blank expert texts": 1}``.
        stored: The stored group of the row, if its responses are used.
    """

    prompt: Prompt
    reference: Any
    demonstrations: dict[str, list[Answer]]
    columns: Row
    row: int | str
    variables: Mapping[str, Any] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    stored: StoredRow | None = None


def check_column(field: str, column: object) -> None:
    """Check that an option is null or the name of a column.

    Raises:
        TypeError: If it is of another type.
        ValueError: If it is empty.

    Example:
        >>> check_column("prompt_column", "question")
    """
    if not isinstance(column, str | None):
        raise GFTTypeError(f"`{field}`: expected the name of a column, got {shorten(column)}; write a text")
    if column == "":
        raise GFTValueError(f"`{field}`: expected the name of a column, got an empty text; name one")


@dataclass(frozen=True)
class Columns:
    """Names of the columns that hold a row's prompt, reference and demonstrations.

    Args:
        prompt_column: Column with the prompt, a text or a list of messages; ``None`` only with ``conversation_column``.
        answer_column: Column that the reference is taken from; ``None`` if the data has none.
        expert_column: Column with a text or a list of texts; ``None`` if the data has none.
        teacher_column: Column with a text or a list of texts; ``None`` if the data has none.
        answer_marker: The reference is the text after the last marker in the answer, or in each text of a list. If
            empty, the whole answer is the reference, of whatever type.
        conversation_column: Column with whole conversations, in place of prompt and expert: a last message of the
            assistant is the expert's, and the others are the prompt. ``answer_column`` may be the same column, to use
            that message.
        reads_demonstrations: Whether demonstrations are used.

    A demonstration is a text, a message of the assistant, or a list of texts. A blank one counts as missing, like null:
    the end of sequence alone is not an answer.

    Raises:
        ValueError: If ``answer_marker`` is null, no column has the prompt, or two columns are given for the same role.
        TypeError: If a column is not a text.

    Example:
        >>> columns = Columns(prompt_column="question", expert_column="answer", answer_marker="####")
        >>> example, = columns.read([{"question": "1 + 1?", "answer": "1 + 1 = 2 #### 2"}])
        >>> example.reference, example.demonstrations
        ('2', {'expert': ['1 + 1 = 2 #### 2']})
    """

    prompt_column: str | None = "prompt"
    answer_column: str | None = "answer"
    expert_column: str | None = None
    teacher_column: str | None = None
    answer_marker: str = ""
    conversation_column: str | None = None
    reads_demonstrations: bool = True

    def __post_init__(self) -> None:
        check_marker("answer_marker", self.answer_marker)
        for name in ("prompt_column", "answer_column", "expert_column", "teacher_column", "conversation_column"):
            check_column(name, getattr(self, name))
        if self.conversation_column is None:
            if self.prompt_column is None:
                raise GFTValueError(
                    "`prompt_column`: expected a column unless conversation_column is set, got null; name the column "
                    "with the prompts"
                )
            return
        for name, default in (("prompt_column", "prompt"), ("expert_column", None)):
            if getattr(self, name) not in (default, None):
                raise GFTValueError(
                    f"`{name}`: expected none beside conversation_column={self.conversation_column!r}, "
                    f"which holds the prompt and the expert's answer, got {getattr(self, name)!r}; leave it out"
                )

    @property
    def demonstration_columns(self) -> dict[str, str]:
        """The columns with demonstrations, by role."""
        columns = {"expert": self.conversation_column or self.expert_column, "teacher": self.teacher_column}
        return {role: name for role, name in columns.items() if name is not None and self.reads_demonstrations}

    @property
    def prompt_source(self) -> str:
        """The column with the prompt."""
        return cast("str", self.conversation_column or self.prompt_column)  # one of them is set

    def field_of(self, role: str) -> str:
        """Return the option that names the column with a role's demonstrations."""
        return "conversation_column" if role == "expert" and self.conversation_column else f"{role}_column"

    def without_demonstrations(self) -> Columns:
        """Return the same columns without reading demonstrations; columns that hold only these may be missing."""
        return replace(self, reads_demonstrations=False)

    def check(self, available: Sequence[str]) -> None:
        """Raise an error for a name that is not among the available columns."""
        named: dict[str, str | None] = {
            "conversation_column" if self.conversation_column else "prompt_column": self.prompt_source,
            "answer_column": self.answer_column,
            **{self.field_of(role): name for role, name in self.demonstration_columns.items()},
        }
        unused = [column for column in available if column not in named.values()]
        for option, column in named.items():
            if column is None or column in available:
                continue
            raise GFTValueError(
                f"`{option}`: expected one of the columns {', '.join(map(repr, available))}, got {column!r}"
                + (remedies(did_you_mean(column, unused), self._otherwise(option)) or "; name one of them")
            )

    def _otherwise(self, option: str) -> str:
        """Return what to do if the data have no column for an option."""
        if option == "answer_column":
            last = f", or to {self.conversation_column!r} for the last message" if self.conversation_column else ""
            return f"set it to null if there are no references{last}"
        if option in ("expert_column", "teacher_column"):
            role = option.partition("_")[0]
            return (
                f"if there are no {role} responses, set it to null and leave their source out of model.sampler.sources"
            )
        return ""

    def read(self, rows: Sequence[Row]) -> list[TextExample]:
        """Return each row split into the roles of its columns."""
        positions = rows.positions if isinstance(rows, NumberedRows) else range(len(rows))
        return [self._read(row, number) for row, number in zip(rows, positions, strict=True)]

    def _read(self, row: Row, number: int | str) -> TextExample:
        source = self.prompt_source
        with naming(row_name(number, source)):
            prompt, last = read_conversation(row[source], splits=self.conversation_column is not None)
            if not prompt_text(prompt).strip():
                raise GFTValueError(
                    f"expected a prompt, got a blank one: {shorten(prompt)}; remove the row, or give it a prompt"
                )
        last = [answer for answer in last if not is_blank(answer)]
        with naming(row_name(number, self.answer_column)):
            reference = self._reference(row, last)
        demonstrations, left_out = {}, Counter[str]()
        for role, column in self.demonstration_columns.items():
            if column == self.conversation_column:
                demonstrations[role] = last
                continue
            with naming(row_name(number, column)):
                answers = read_answers(row[column])
            demonstrations[role] = [answer for answer in answers if not is_blank(answer)]
            left_out[f"blank {role} texts"] = sum(map(is_blank, answers))
        used = {source, self.answer_column, *self.demonstration_columns.values()}
        variables = read_variables({name: cell for name, cell in row.items() if name not in used})
        stored = row if isinstance(row, StoredRow) and self.reads_demonstrations else None
        # Only the row is kept: the group's other contents are freed when its responses are encoded.
        return TextExample(prompt, reference, demonstrations, dict(row), number, variables, +left_out, stored)

    def _reference(self, row: Row, last: list[Answer]) -> Any:
        if self.answer_column is None:
            return None
        if self.answer_column == self.conversation_column:
            answer = answer_text(last[0]) if last else None
        else:
            answer = row[self.answer_column]
        if not self.answer_marker:
            return answer
        return [self._after_marker(text) for text in answer] if isinstance(answer, list) else self._after_marker(answer)

    def _after_marker(self, answer: Any) -> str:
        if not isinstance(answer, str):
            raise GFTValueError(
                f"expected a text with answer_marker={self.answer_marker!r}, got {shorten(answer)}; set answer_marker "
                "to '' if the column holds the references themselves"
            )
        _, marker, reference = answer.rpartition(self.answer_marker)
        if not marker:
            raise GFTValueError(
                f"expected a text with answer_marker={self.answer_marker!r}, got one without: {shorten(answer)}; "
                "correct the text, or set answer_marker to ''"
            )
        return reference.strip()
