"""The replies of a server."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from lightning_gft.checks import shorten
from lightning_gft.errors import GFTTypeError

_REASONING = ("reasoning_content", "reasoning")
"""Names of the field in which servers send the reasoning apart from the answer."""
KEY_ECHOED = "key_echoed"
"""Finish reason of a reply whose text was removed because it contained the API key."""


class MalformedReplyError(Exception):
    """A server's reply is not a chat completion."""


@dataclass(frozen=True)
class Reply:
    """One reply to a request.

    Args:
        text: Content of the reply, which may be empty.
        reasoning: Reasoning before the answer, if the server sends it apart.
        finish_reason: ``"stop"`` for a complete reply, ``"length"`` for a truncated one, or the reason for a missing
            one.
        tokens: Number of tokens that the server generated; 0 if it does not report them.
    """

    text: str
    reasoning: str
    finish_reason: str
    tokens: int = 0

    def to_json(self) -> str:
        """Return the reply as a JSON text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Reply:
        """Return the reply that :meth:`to_json` wrote.

        Raises:
            ValueError: If the text is not JSON.
            TypeError: If the value or one of its fields has another type.

        Example:
            >>> reply = Reply("2", "1 and 1", "stop", 7)
            >>> Reply.from_json(reply.to_json()) == reply
            True
        """
        reply = cls(**json.loads(text))
        kinds = {"text": str, "reasoning": str, "finish_reason": str, "tokens": int}
        if not all(isinstance(getattr(reply, name), kind) for name, kind in kinds.items()):
            raise GFTTypeError(f"expected {kinds}, got {shorten(reply)}")
        return reply


def read_reply(content: bytes) -> Reply:
    """Return the reply in the body of a chat completion.

    Raises:
        MalformedReplyError: If the body is not a chat completion with a choice.

    Example:
        >>> read_reply(b'{"choices": [{"message": {"content": "2"}, "finish_reason": "stop"}]}').text
        '2'
    """
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        raise MalformedReplyError(f"no JSON: {shorten(content[:200].decode(errors='replace'))}") from None
    try:
        choice = body["choices"][0]
        message, reason = choice["message"], choice["finish_reason"]
        text, reasoning = message.get("content") or "", _reasoning(message)
        if message.get("refusal"):
            reason = "refusal"
        elif message.get("tool_calls"):
            reason = "tool_calls"
        if not all(isinstance(part, str) for part in (text, reasoning, reason)):
            raise MalformedReplyError(f"fields that are not texts: {shorten(choice)}")
        return Reply(_whole(text), _whole(reasoning), reason, _tokens(body.get("usage")))
    except (LookupError, TypeError, AttributeError):
        error = body.get("error") if isinstance(body, dict) else None
        what = (
            f"an error: {shorten(error, 200)}"
            if error
            else f"JSON without a choice, its message and finish_reason: {shorten(body)}"
        )
        raise MalformedReplyError(what) from None


def _reasoning(message: dict[str, Any]) -> str:
    return next((message[name] for name in _REASONING if message.get(name)), "")


def _whole(text: str) -> str:
    """Return a text without lone surrogates, which JSON can represent but tokenizers cannot encode."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _tokens(usage: Any) -> int:
    tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
    return tokens if isinstance(tokens, int) else 0
