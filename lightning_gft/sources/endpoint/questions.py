"""Requests, and the keys of their replies in the cache."""

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
"""Part of each key; a new value makes all requests new when their format changes."""
_SEEDS = 2**31
"""Number of different seeds; the largest seed depends on the server, and all accept this range."""

Message = Mapping[str, Any]


@dataclass(frozen=True)
class Question:
    """A request for one reply.

    Args:
        body: JSON body of the request.
        key: Key of the reply in the cache. It depends on messages, settings and number of the reply, not on the server.
    """

    body: dict[str, Any]
    key: str


@dataclass(frozen=True)
class ChatParams:
    """The settings of requests to a teacher.

    Args:
        model: Name of the model on the server.
        sampling: Temperature, filters and length limit.
        seed: Seed that the seed of each request is derived from; ``None`` sends no seeds.
        system_prompt: Replacement for the conversation's system message; an empty text keeps the original.
        extra_body: Additional fields of a request; a value of ``None`` removes a field.
    """

    model: str
    sampling: SamplingParams
    seed: int | None = 0
    system_prompt: str = ""
    extra_body: Mapping[str, Any] = field(default_factory=dict, repr=False)  # its values may be private

    def question(self, messages: Sequence[Message], number: int) -> Question:
        """Return the request for reply ``number`` to a conversation.

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
            f"`EndpointSource`: expected messages that JSON can represent, got {shorten(asked['messages'])}; remove "
            "other values from the data's prompts and from `extra_body`"
        ) from None
    return hashlib.sha256(written.encode()).hexdigest()
