"""From rows to tokenised examples, without truncation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from lightning_gft.chat import Messages
from lightning_gft.checks import check_choice, check_count, shorten
from lightning_gft.data.columns import Columns, Row
from lightning_gft.data.errors import naming_rows, row_name
from lightning_gft.data.prompts import prompt_text
from lightning_gft.data.stored_responses import encode_stored
from lightning_gft.data.tokenization import PromptEncoder
from lightning_gft.errors import GFTValueError
from lightning_gft.types import Response

Overlong = Literal["error", "drop"]

_NO_WINDOW = int(1e20)  # transformers uses 1e30 for an unknown window


@dataclass(frozen=True, slots=True)
class Example:
    """A tokenised row.

    Args:
        prompt_ids: Token ids of the prompt, exactly as the policy receives it.
        prompt: Text of the prompt, without any template; for a conversation, the texts of its messages.
        reference: Value that a verifier compares responses with.
        demonstrations: Given responses by role.
        columns: The whole row by column names.
        row: Position of the row in the data as loaded, for errors.
        messages: The prompt as a conversation: what the chat template rendered, or one message of the user.
        left_out: Number of demonstrations that count as missing, by their names in warnings.
        stored: Responses of an earlier run by their source in it, if the row is a stored group.
    """

    prompt_ids: list[int]
    prompt: str
    reference: Any
    demonstrations: dict[str, list[Response]]
    columns: Row
    row: int | str
    messages: Messages = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    stored: dict[str, list[Response]] = field(default_factory=dict)


@dataclass(frozen=True)
class LengthLimits:
    """Limits for the length of prompts and responses, and what happens to longer ones. They are never truncated.

    A truncated demonstration would teach the policy not to stop, and a verifier would score it as wrong.

    Args:
        max_prompt_length: Longest prompt, in tokens; ``None`` for no limit.
        max_response_length: Longest demonstration, in tokens, with its end-of-sequence token; ``None`` for no limit.
        overlong_prompts: ``"error"`` raises an error for a longer prompt, ``"drop"`` drops its row.
        overlong_demonstrations: ``"error"`` raises an error for a longer demonstration, ``"drop"`` drops it from its
            group.

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
                check_count(name, limit, otherwise="null for no limit")
        for name in ("overlong_prompts", "overlong_demonstrations"):
            check_choice(name, getattr(self, name), get_args(Overlong))


@dataclass(frozen=True)
class ExampleEncoder:
    """Turns rows into tokenised examples.

    Besides the limits, a prompt and its response must fit into the model's context window, the tokenizer's
    ``model_max_length``.

    Args:
        prompts: Tokenises prompts and responses.
        columns: Maps columns to their roles.
        limits: Defines which prompts and responses are too long.
    """

    prompts: PromptEncoder
    columns: Columns
    limits: LengthLimits

    def without_demonstrations(self) -> ExampleEncoder:
        """Return an encoder that does not read demonstrations, whether the data has them or not."""
        return replace(self, columns=self.columns.without_demonstrations())

    def encode(self, rows: Sequence[Row]) -> tuple[list[Example], Counter[str]]:
        """Return the tokenised rows, and the number of dropped prompts and of demonstrations by role."""
        examples, dropped = [], Counter[str]()
        for whole in self.tokenize(rows):
            example, too_long = self.fit(whole)
            dropped += too_long
            if example is not None:
                examples.append(example)
        return examples, dropped

    def tokenize(self, rows: Sequence[Row]) -> list[Example]:
        """Return the tokenised rows, regardless of their length."""
        self.columns.check(list(rows[0]))
        texts = self.columns.read(rows)
        with naming_rows([(text.row, self.columns.prompt_source) for text in texts]):
            prompts = self.prompts.encode_prompts([text.prompt for text in texts], [text.variables for text in texts])
        # All at once, which is fast, and in the order in which the results are assigned below.
        given = [
            (prompt, answer, (text.row, self.columns.demonstration_columns[role]))
            for text, prompt in zip(texts, prompts, strict=True)
            for role, answers in text.demonstrations.items()
            for answer in answers
        ]
        with naming_rows([cell for *_, cell in given]):
            ids = self.prompts.encode_responses([prompt for prompt, *_ in given], [answer for _, answer, _ in given])
        responses = map(Response, ids)
        stored = encode_stored(self.prompts, prompts, texts)
        return [
            Example(
                prompt_ids=prompt.token_ids,
                prompt=prompt_text(text.prompt),
                reference=text.reference,
                demonstrations={role: [next(responses) for _ in of] for role, of in text.demonstrations.items()},
                columns=text.columns,
                row=text.row,
                messages=prompt.conversation.messages,
                left_out=text.left_out,
                stored=kept_before,
            )
            for text, prompt, kept_before in zip(texts, prompts, stored, strict=True)
        ]

    def fit(self, example: Example) -> tuple[Example | None, Counter[str]]:
        """Return an example without overlong responses, or ``None`` for an overlong prompt, and counts of both.

        Raises:
            ValueError: If a part is too long that must not be dropped, or the prompt has no tokens.
        """
        if not self._prompt_fits(example):
            return None, Counter({"prompt": 1})
        kept, dropped = {}, Counter[str]()
        for role, given in example.demonstrations.items():
            column = self.columns.demonstration_columns[role]
            kept[role] = [each for each in given if self._fits(each, f"{role} demonstration", column, example)]
            dropped[role] = len(given) - len(kept[role])
        stored = {}
        for source, given in example.stored.items():
            what = f"stored {source} response"
            stored[source] = [each for each in given if self._fits(each, what, "completion", example)]
            dropped[f"stored {source}"] = len(given) - len(stored[source])
        return replace(example, demonstrations=kept, stored=stored), +dropped

    @property
    def window(self) -> int:
        """Most tokens of a prompt and its response together; very large if the tokenizer sets no limit."""
        return int(self.prompts.tokenizer.model_max_length)

    def limit_name(self, part: Literal["prompt", "response"]) -> str:
        """Return the limits of a prompt's or a response's length, as errors show them."""
        field = f"max_{part}_length"
        limit = getattr(self.limits, field)
        names = [] if limit is None else [f"{field}={limit}"]
        if self.window < _NO_WINDOW:
            names.append(self._window_name())
        return " and ".join(names)

    def has_room(self, prompt_length: int, response_length: int) -> bool:
        """Return whether a response is within the limit and, with its prompt, fits into the model's window."""
        limit = self.limits.max_response_length
        return (limit is None or response_length <= limit) and prompt_length + response_length <= self.window

    def _prompt_fits(self, example: Example) -> bool:
        column, length = self.columns.prompt_source, len(example.prompt_ids)
        if length == 0:
            raise GFTValueError(
                f"{row_name(example.row, column)}: expected a prompt with tokens, got {shorten(example.prompt)}; "
                "remove the row, or give it a prompt"
            )
        beyond = f"to which {self._window_name()} leaves no room for an answer" if length >= self.window else ""
        return self._is_short(example, column, "prompt", length, "prompt", beyond)

    def _fits(self, response: Response, what: str, column: str, example: Example) -> bool:
        length = len(response.token_ids)
        whole = len(example.prompt_ids) + length
        beyond = f"{whole} with its prompt, more than {self._window_name()}" if whole > self.window else ""
        return self._is_short(example, column, what, length, "response", beyond)

    def _is_short(self, example: Example, column: str, what: str, length: int, part: str, beyond: str) -> bool:
        """Return whether a prompt or response is short enough, or raise an error if overlong ones are not dropped."""
        limit = getattr(self.limits, f"max_{part}_length")
        option = "overlong_prompts" if part == "prompt" else "overlong_demonstrations"
        if limit is not None and length > limit:
            fault = f"more than max_{part}_length={limit}: raise the limit"
        elif beyond:
            fault = f"{beyond}: shorten it"
        else:
            return True
        if getattr(self.limits, option) == "drop":
            return False
        raise GFTValueError(
            f"{row_name(example.row, column)}: the {what} has {length} tokens, {fault}, or set `{option}: drop`. The "
            f"prompt begins {shorten(example.prompt, 60)}"
        )

    def _window_name(self) -> str:
        return f"the model's window of {self.window} tokens (`model_max_length` of the tokenizer)"
