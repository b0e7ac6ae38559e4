"""Rendering conversations with a tokenizer's chat template."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from jinja2 import Environment, TemplateError, meta
from transformers import PreTrainedTokenizerBase

from lightning_gft.chat.limit import OutOfTimeError, map_within
from lightning_gft.errors import GFTValueError

Messages = list[dict[str, Any]]
"""A conversation in the form of chat templates: ``[{"role": "user", "content": "..."}]``."""

_SECONDS = 10.0  # a long conversation takes a few milliseconds
_GENERATION = re.compile(r"\{%[-+]?\s*(?:end)?generation\s*[-+]?%\}")  # a tag that transformers adds to Jinja
_FUNCTIONS = {"raise_exception", "strftime_now"}  # functions that transformers adds


@dataclass(frozen=True, slots=True)
class Conversation:
    """The input of a chat template.

    Args:
        messages: The turns, in order.
        variables: Variables of this conversation alone, such as its ``tools``.
    """

    messages: Messages
    variables: Mapping[str, Any] = field(default_factory=dict)

    def answered(self, message: dict[str, Any]) -> Conversation:
        """Return the conversation with another turn at its end."""
        return Conversation([*self.messages, message], self.variables)


class TextError(GFTValueError):
    """A text that cannot be rendered or encoded; ``index`` is its number among the texts of the call."""

    def __init__(self, message: str, index: int = 0) -> None:
        super().__init__(message)
        self.index = index


class RenderError(TextError):
    """A conversation that the chat template cannot render."""


class ChatTemplate:
    """A tokenizer's chat template.

    Templates come with downloaded models: transformers runs them in Jinja's sandbox, and this class stops one that does
    not end.

    Example:
        >>> from lightning_gft import ScratchPolicy
        >>> tokenizer = ScratchPolicy("ab").tokenizer
        >>> tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }} {% endfor %}"
        >>> ChatTemplate(tokenizer).render(Conversation([{"role": "user", "content": "a"}]))
        'user: a '
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, variables: Mapping[str, Any] | None = None) -> None:
        self.tokenizer = tokenizer
        self.variables = dict(variables or {})

    @cached_property
    def reads(self) -> frozenset[str]:
        """Names of the variables that the template reads."""
        written = self.tokenizer.chat_template
        environment = Environment(extensions=["jinja2.ext.loopcontrols"], autoescape=False)  # noqa: S701 (parses only)
        names: set[str] = set()
        for text in written.values() if isinstance(written, dict) else [str(written)]:
            try:
                names |= meta.find_undeclared_variables(environment.parse(_GENERATION.sub("", text)))
            except TemplateError as error:
                raise RenderError(
                    f"expected a chat template that can be read, got an error ({error}): give another `chat_template`"
                ) from error
        return frozenset(names - set(environment.globals) - _FUNCTIONS)

    def render(self, conversation: Conversation, *, add_generation_prompt: bool = False) -> str:
        """Return a conversation as a text."""
        return self.render_all([conversation], add_generation_prompt=add_generation_prompt)[0]

    def render_all(self, conversations: Sequence[Conversation], *, add_generation_prompt: bool = False) -> list[str]:
        """Return conversations as texts, see :meth:`render`."""
        done = 0

        def render(conversation: Conversation) -> str:
            nonlocal done
            text = self._render(conversation, add_generation_prompt)
            done += 1
            return text

        try:
            return map_within(render, conversations, _SECONDS)
        except OutOfTimeError as error:
            raise RenderError(
                f"the chat template did not end within {_SECONDS:g} s and was stopped: give the tokenizer another "
                "`chat_template`",
                error.index,
            ) from error
        except Exception as error:
            raise RenderError(
                f"the chat template cannot render the conversation ({_summarise(error)}): correct its messages, or "
                "give the tokenizer another `chat_template`",
                done,
            ) from error

    def _render(self, conversation: Conversation, add_generation_prompt: bool) -> str:
        return str(
            self.tokenizer.apply_chat_template(
                conversation.messages,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                **{**self.variables, **conversation.variables},
            )
        )


def _summarise(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if isinstance(error, TemplateError) or len(text) > 40 else f"{type(error).__name__}: {text}"


def shared_prefix(one: str, other: str) -> str:
    """Return the text that two texts both begin with.

    Example:
        >>> shared_prefix("<|end|><|user|>", "<|end|><|endoftext|>")
        '<|end|><|'
    """
    return os.path.commonprefix([one, other])  # noqa: RUF071 (of texts, not of paths)
