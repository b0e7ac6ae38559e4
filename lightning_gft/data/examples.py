"""From rows to tokenised examples, with nothing cut on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lightning_gft.data.columns import Columns, Row, TextExample
from lightning_gft.data.tokenization import Prompt, PromptEncoder
from lightning_gft.types import Response

Overlong = Literal["error", "drop"]


@dataclass(frozen=True, slots=True)
class Example:
    """A tokenised row.

    Args:
        prompt_ids: Token ids of the prompt, exactly as the policy is given it.
        prompt: Text of the prompt, without any template; of a conversation, the texts of its messages.
        reference: What a verifier compares to.
        demonstrations: Given responses by role.
        columns: The row itself.
    """

    prompt_ids: list[int]
    prompt: str
    reference: Any
    demonstrations: dict[str, list[Response]]
    columns: Row


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
            if limit is not None and limit < 1:
                raise ValueError(f"{name}={limit} must be at least 1")


@dataclass(frozen=True)
class ExampleEncoder:
    """Turns rows into tokenised examples.

    Args:
        prompts: Tokenises.
        columns: Says which column plays which part.
        limits: Says what is too long.
    """

    prompts: PromptEncoder
    columns: Columns
    limits: LengthLimits

    def encode(self, rows: Sequence[Row]) -> tuple[list[Example], Counter[str]]:
        """Return the tokenised rows, and how many prompts and demonstrations of each role were dropped.

        Args:
            rows: At least one row; all have the same columns.

        Raises:
            ValueError: If a column is missing, or something is empty or too long and not to be dropped.
        """
        self.columns.check(list(rows[0]))
        texts = self.columns.read(rows)
        self._check_prefix(texts)
        prompt_ids = self.prompts.encode_prompts([text.prompt for text in texts])
        responses = self._encode_demonstrations(texts)
        examples, dropped = [], Counter[str]()
        for number, (text, ids) in enumerate(zip(texts, prompt_ids, strict=True)):
            given = {role: [next(responses) for _ in answers] for role, answers in text.demonstrations.items()}
            if not self._prompt_fits(text, ids, number):
                dropped["prompt"] += 1
                continue
            kept = {role: [r for r in answers if self._fits(r, role, number)] for role, answers in given.items()}
            dropped.update({role: len(given[role]) - len(kept[role]) for role in given})
            examples.append(Example(ids, _prompt_text(text.prompt), text.reference, kept, text.columns))
        return examples, +dropped

    def _check_prefix(self, texts: Sequence[TextExample]) -> None:
        # Whether the prompt begins the conversation is up to the template, not to the row: one row tells.
        for text in texts:
            for response in (response for answers in text.demonstrations.values() for response in answers):
                self.prompts.check_prefix(text.prompt, response)
                return

    def _encode_demonstrations(self, texts: Sequence[TextExample]) -> Iterator[Response]:
        # All at once, because that is how a tokenizer is fast; in the order in which they are taken back apart.
        flat = [response for text in texts for answers in text.demonstrations.values() for response in answers]
        return map(Response, self.prompts.encode_responses(flat))

    def _prompt_fits(self, text: TextExample, ids: list[int], number: int) -> bool:
        if not ids:
            raise ValueError(f"row {number} has an empty prompt: {text.prompt!r}")
        limit = self.limits.max_prompt_length
        if limit is None or len(ids) <= limit:
            return True
        if self.limits.overlong_prompts == "drop":
            return False
        raise ValueError(
            f"row {number}: its prompt has {len(ids)} tokens, more than max_prompt_length={limit}: raise the limit, or "
            f"set `overlong_prompts: drop`. The prompt begins {_prompt_text(text.prompt)[:60]!r}"
        )

    def _fits(self, response: Response, role: str, number: int) -> bool:
        limit = self.limits.max_response_length
        if limit is None or len(response.token_ids) <= limit:
            return True
        if self.limits.overlong_demonstrations == "drop":
            return False
        raise ValueError(
            f"row {number}: its {role} demonstration has {len(response.token_ids)} tokens, more than "
            f"max_response_length={limit}: raise the limit, or set `overlong_demonstrations: drop`"
        )


def _prompt_text(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else "\n".join(str(message["content"]) for message in prompt)
