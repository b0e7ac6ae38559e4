"""From rows to tokenised examples, with nothing cut on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from lightning_gft.checks import check_count, shorten
from lightning_gft.data.columns import Columns, Row, TextExample
from lightning_gft.data.errors import TextError, row_name
from lightning_gft.data.prompts import prompt_text
from lightning_gft.data.responses import EncodedPrompt
from lightning_gft.data.tokenization import PromptEncoder
from lightning_gft.errors import GFTValueError
from lightning_gft.types import Response

Overlong = Literal["error", "drop"]

_NO_WINDOW = int(1e20)  # transformers writes 1e30 where it knows none


@dataclass(frozen=True, slots=True)
class Example:
    """A tokenised row.

    Args:
        prompt_ids: Token ids of the prompt, exactly as the policy is given it.
        prompt: Text of the prompt, without any template; of a conversation, the texts of its messages.
        reference: What a verifier compares to.
        demonstrations: Given responses by role.
        columns: The row itself.
        row: Its position in the data as loaded, by which errors name it.
    """

    prompt_ids: list[int]
    prompt: str
    reference: Any
    demonstrations: dict[str, list[Response]]
    columns: Row
    row: int | str


@dataclass(frozen=True)
class LengthLimits:
    """How long prompts and responses may be, and what becomes of longer ones. They are never cut.

    A demonstration without its end would teach the policy not to stop, and a verifier would score it as wrong.

    Args:
        max_prompt_length: Longest prompt, in tokens; ``None`` allows any.
        max_response_length: Longest demonstration, in tokens, the end-of-sequence token included; ``None`` allows any.
        overlong_prompts: Refuse a longer prompt, or drop its row.
        overlong_demonstrations: Refuse a longer demonstration, or drop it from its group.

    Raises:
        ValueError: If a limit is not positive.
        TypeError: If a limit is not a whole number.

    Example:
        >>> LengthLimits(max_prompt_length=512).overlong_prompts
        'error'
    """

    max_prompt_length: int | None = None
    max_response_length: int | None = None
    overlong_prompts: Overlong = "error"
    overlong_demonstrations: Overlong = "drop"

    def __post_init__(self) -> None:
        for name in ("max_prompt_length", "max_response_length"):
            limit = getattr(self, name)
            if limit is not None:
                check_count(name, limit)


@dataclass(frozen=True)
class ExampleEncoder:
    """Turns rows into tokenised examples.

    Besides the limits, a prompt and its response must fit into the model's context window, the tokenizer's
    ``model_max_length``.

    Args:
        prompts: Tokenises.
        columns: Says which column plays which part.
        limits: Says what is too long.
    """

    prompts: PromptEncoder
    columns: Columns
    limits: LengthLimits

    def without_demonstrations(self) -> ExampleEncoder:
        """Return an encoder that leaves demonstrations unread, whether the data has any or not."""
        return replace(self, columns=self.columns.without_demonstrations())

    def encode(self, rows: Sequence[Row]) -> tuple[list[Example], Counter[str]]:
        """Return the tokenised rows, and how many prompts and demonstrations of each role were dropped.

        Args:
            rows: At least one row; all have the same columns.

        Raises:
            ValueError: If a column is missing, or something is empty, unknown to the tokenizer, or too long and not to
                be dropped.
            TypeError: If a prompt or a demonstration is of another type.
        """
        self.columns.check(list(rows[0]))
        texts = self.columns.read(rows)
        prompts = self._encode_prompts(texts)
        responses = self._encode_demonstrations(texts, prompts)
        examples, dropped = [], Counter[str]()
        for text, encoded in zip(texts, prompts, strict=True):
            ids = encoded.token_ids
            given = {role: [next(responses) for _ in answers] for role, answers in text.demonstrations.items()}
            if not self._prompt_fits(text, len(ids)):
                dropped["prompt"] += 1
                continue
            kept = {
                role: [r for r in answers if self._fits(r, role, text, len(ids))] for role, answers in given.items()
            }
            dropped.update({role: len(given[role]) - len(kept[role]) for role in given})
            examples.append(Example(ids, prompt_text(text.prompt), text.reference, kept, text.columns, text.row))
        return examples, +dropped

    @property
    def window(self) -> int:
        """Most tokens that prompt and response may have together; enormous if the tokenizer does not tell."""
        return int(self.prompts.tokenizer.model_max_length)

    def limit_name(self, part: Literal["prompt", "response"]) -> str:
        """Return what errors call the limits of a prompt's or a response's length.

        Args:
            part: Which of the two.
        """
        field = f"max_{part}_length"
        limit = getattr(self.limits, field)
        names = [] if limit is None else [f"{field}={limit}"]
        if self.window < _NO_WINDOW:
            names.append(self._window_name())
        return " and ".join(names)

    def _encode_prompts(self, texts: Sequence[TextExample]) -> list[EncodedPrompt]:
        try:
            return self.prompts.encode_prompts([text.prompt for text in texts], [text.variables for text in texts])
        except TextError as error:
            raise GFTValueError(f"{row_name(texts[error.index].row, self.columns.prompt_source)}: {error}") from error

    def _encode_demonstrations(
        self, texts: Sequence[TextExample], prompts: Sequence[EncodedPrompt]
    ) -> Iterator[Response]:
        # All at once, because that is how a tokenizer is fast; in the order in which they are taken back apart.
        flat = [
            (answer, prompt, text.row, role)
            for text, prompt in zip(texts, prompts, strict=True)
            for role, answers in text.demonstrations.items()
            for answer in answers
        ]
        try:
            ids = self.prompts.encode_responses([prompt for _, prompt, _, _ in flat], [answer for answer, *_ in flat])
        except TextError as error:
            _, _, row, role = flat[error.index]
            raise GFTValueError(f"{row_name(row, self.columns.demonstration_columns[role])}: {error}") from error
        return map(Response, ids)

    def _prompt_fits(self, text: TextExample, length: int) -> bool:
        name = row_name(text.row, self.columns.prompt_source)
        if length == 0:
            raise GFTValueError(f"{name}: the prompt has no tokens: {shorten(text.prompt)}")
        limit = self.limits.max_prompt_length
        if (limit is None or length <= limit) and length < self.window:
            return True
        if self.limits.overlong_prompts == "drop":
            return False
        if limit is not None and length > limit:
            too_long = f"{length} tokens, more than max_prompt_length={limit}: raise the limit"
        else:
            too_long = f"{length} tokens, to which {self._window_name()} leaves no room for an answer: shorten it"
        raise GFTValueError(f"{name}: the prompt has {too_long}, or set `overlong_prompts: drop`. {_beginning(text)}")

    def _fits(self, response: Response, role: str, text: TextExample, prompt_length: int) -> bool:
        limit, length = self.limits.max_response_length, len(response.token_ids)
        if (limit is None or length <= limit) and prompt_length + length <= self.window:
            return True
        if self.limits.overlong_demonstrations == "drop":
            return False
        if limit is not None and length > limit:
            too_long = f"has {length} tokens, more than max_response_length={limit}: raise the limit"
        else:
            too_long = (
                f"has {length} tokens, {prompt_length + length} with its prompt, more than {self._window_name()}: "
                "shorten it"
            )
        raise GFTValueError(
            f"{row_name(text.row, self.columns.demonstration_columns[role])}: the {role} demonstration {too_long}, or "
            f"set `overlong_demonstrations: drop`. {_beginning(text)}"
        )

    def _window_name(self) -> str:
        return f"the model's window of {self.window} tokens (`model_max_length` of the tokenizer)"


def _beginning(text: TextExample) -> str:
    return f"The prompt begins {shorten(prompt_text(text.prompt), 60)}"
