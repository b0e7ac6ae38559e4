"""Requests, and the keys by which their replies are found again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lightning_gft.checks import shorten
from lightning_gft.errors import GFTTypeError
from lightning_gft.sampling import SamplingParams

_VERSION = 1
"""Part of each key; a change of what is sent asks anew."""
_SEEDS = 2**31
"""Servers differ in the largest seed; all take this many."""

Message = Mapping[str, Any]


@dataclass(frozen=True)
class Question:
    """A request for one reply.

    Args:
        body: What is sent.
        key: The same for the same messages, settings and number of the reply, whichever server answers.
    """

    body: dict[str, Any]
    key: str


@dataclass(frozen=True)
class ChatParams:
    """How a teacher is asked.

    Args:
        model: As the server calls it.
        sampling: How it draws.
        seed: Each reply gets a seed of its own from this one; ``None`` sends none.
        system_prompt: Takes the place of the conversation's own system message; empty leaves that.
        extra_body: More fields of a request; ``None`` as a value leaves a field out.
    """

    model: str
    sampling: SamplingParams
    seed: int | None = 0
    system_prompt: str = ""
    extra_body: Mapping[str, Any] = field(default_factory=dict, repr=False)  # it may hold what is private

    def question(self, messages: Sequence[Message], number: int) -> Question:
        """Return the request for one of the replies to a conversation.

        Example:
            >>> params = ChatParams("teacher", SamplingParams(max_new_tokens=8))
            >>> first, second = (params.question([{"role": "user", "content": "1+1?"}], n) for n in range(2))
            >>> first.body["max_completion_tokens"], first.key == second.key
            (8, False)
        """
        body: dict[str, Any] = {
            "model": self.model,
            "messages": self._messages(messages),
            "max_completion_tokens": self.sampling.max_new_tokens,
            "temperature": self.sampling.temperature,
            "top_p": self.sampling.top_p,
            **self.extra_body,
        }
        key = _digest({"version": _VERSION, "seed": self.seed, "number": number, **body})
        if self.seed is not None:
            body.setdefault("seed", int(key[:16], 16) % _SEEDS)
        return Question({name: value for name, value in body.items() if value is not None}, key)

    def _messages(self, messages: Sequence[Message]) -> list[Message]:
        if not self.system_prompt:
            return list(messages)
        others = [message for message in messages if message.get("role") != "system"]
        return [{"role": "system", "content": self.system_prompt}, *others]


def _digest(asked: dict[str, Any]) -> str:
    try:
        written = json.dumps(asked, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError):
        raise GFTTypeError(
            f"`messages`: expected what JSON can write, got {shorten(asked['messages'])}; leave the rest out of the "
            "data's prompts and of `extra_body`"
        ) from None
    return hashlib.sha256(written.encode()).hexdigest()
