"""Prompts: texts or conversations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_gft.chat import Messages
from lightning_gft.checks import shorten
from lightning_gft.errors import GFTTypeError, GFTValueError

Prompt = str | Messages

Variables = Mapping[str, Any]
"""Variables of a chat template besides messages, such as ``tools``."""

Answer = str | dict[str, Any]
"""A given response: a text, or the assistant's message if it holds more than a text."""

_SPEAKERS = {
    **{"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "model": "assistant"},
    **{"system": "system", "tool": "tool", "observation": "tool"},
}
"""Roles in ShareGPT's data, and their names in chat templates."""


def as_messages(prompt: Any) -> Any:
    """Convert a conversation in ShareGPT's form to that of chat templates, and return other values unchanged.

    Example:
        >>> as_messages([{"from": "human", "value": "1 + 1?"}])
        [{'role': 'user', 'content': '1 + 1?'}]
    """
    if not isinstance(prompt, list) or not all(isinstance(turn, dict) and "from" in turn for turn in prompt):
        return prompt
    for number, turn in enumerate(prompt):
        if turn["from"] not in _SPEAKERS and turn.get("role") is None:
            raise GFTValueError(
                f"message {number} (counting from 0): expected to be from one of {', '.join(_SPEAKERS)}, got "
                f"{turn['from']!r}"
            )
    return [
        turn
        if turn.get("role") is not None  # a message of the other form, whose keys Parquet has merged
        else {
            "role": _SPEAKERS[turn["from"]],
            "content": turn.get("value"),
            **{key: value for key, value in turn.items() if key not in ("from", "value", "role", "content")},
        }
        for turn in prompt
    ]


def as_answer(message: dict[str, Any]) -> Answer:
    """Return an assistant's message as a given response: its text, if it holds no more than that."""
    if message["role"] != "assistant":
        raise GFTValueError(f"the last message: expected one of role 'assistant', got {message['role']!r}")
    more = [key for key, value in message.items() if value and key not in ("role", "content")]
    content = message.get("content")
    return content if isinstance(content, str) and not more else message


def answer_text(answer: Answer) -> str:
    """Return the text of a given response."""
    return answer if isinstance(answer, str) else prompt_text([answer])


def is_blank(answer: Answer) -> bool:
    """Return whether a given response is empty; a call of a tool is not."""
    return not answer_text(answer).strip() and (isinstance(answer, str) or not answer.get("tool_calls"))


def check_prompt(prompt: object) -> None:
    """Check that a value is a text, or a list of messages that each have a role and content."""
    if isinstance(prompt, str):
        return
    if not isinstance(prompt, list):
        kind = "null" if prompt is None else f"{type(prompt).__name__}: {shorten(prompt)}"
        raise GFTTypeError(f"expected a text or a list of messages, got {kind}")
    for number, message in enumerate(prompt):
        _check_message(message, f"message {number} (counting from 0) of the prompt")


def prompt_text(prompt: Prompt) -> str:
    r"""Return a prompt as a text without any template; for a conversation, the texts of its messages.

    A part of a message that is not a text, such as an image, is written as its type.

    Example:
        >>> parts = [{"type": "image", "url": "cat.png"}, {"type": "text", "text": "What is this?"}]
        >>> prompt_text([{"role": "system", "content": "Be brief."}, {"role": "user", "content": parts}])
        'Be brief.\n[image]\nWhat is this?'
    """
    if isinstance(prompt, str):
        return prompt
    return "\n".join(_content_text(message.get("content")) for message in prompt)


def _check_message(message: object, name: str) -> None:
    if not isinstance(message, dict):
        raise GFTTypeError(f'{name}: expected one like {{"role": "user", "content": "..."}}, got {shorten(message)}')
    if not isinstance(message.get("role"), str):
        raise GFTValueError(f"{name}: expected a role, such as 'user', got none in {shorten(message)}")
    content = message.get("content")
    if content is None and not message.get("tool_calls"):  # a call of a tool replaces a text
        raise GFTValueError(f"{name}: expected content, got none in {shorten(message)}")
    if not isinstance(content, str | list | None):
        raise GFTTypeError(f"{name}: expected a text or a list of parts as its content, got {shorten(message)}")


def _content_text(content: str | list[Any] | None) -> str:
    parts = content if isinstance(content, list) else [content or ""]
    return "\n".join(_part_text(part) for part in parts)


def _part_text(part: Any) -> str:
    if isinstance(part, dict):
        text = part.get("text")
        return text if isinstance(text, str) else f"[{part.get('type', 'part')}]"
    return str(part)
