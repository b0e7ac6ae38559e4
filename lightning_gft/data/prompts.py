"""What a prompt is: a text or a conversation."""

from __future__ import annotations

from typing import Any

from lightning_gft.data.errors import shorten

Messages = list[dict[str, Any]]
"""A conversation, as chat templates take it: ``[{"role": "user", "content": "..."}]``."""

Prompt = str | Messages


def check_prompt(prompt: object) -> None:
    """Refuse what is neither a text nor a list of messages, each with its role and content.

    Args:
        prompt: What stands where a prompt should.

    Raises:
        TypeError: If it, or a message of it, is of another type.
        ValueError: If a message lacks its role or content.

    Example:
        >>> check_prompt([{"role": "user", "content": "1 + 1?"}])
    """
    if isinstance(prompt, str):
        return
    if not isinstance(prompt, list):
        kind = "null" if prompt is None else f"{type(prompt).__name__}: {shorten(prompt)}"
        raise TypeError(f"a prompt is a text or a list of messages, not {kind}")
    for number, message in enumerate(prompt):
        _check_message(message, f"message {number} (counting from 0) of the prompt")


def prompt_text(prompt: Prompt) -> str:
    r"""Return a prompt as a text without any template; of a conversation, the texts of its messages.

    A part of a message that is not a text, an image say, stands there as its type.

    Args:
        prompt: A text or a conversation.

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
        raise TypeError(f'{name} must be like {{"role": "user", "content": "..."}}, not {shorten(message)}')
    if not isinstance(message.get("role"), str):
        raise ValueError(f"{name} has no role, such as 'user': {shorten(message)}")
    content = message.get("content")
    if content is None and not message.get("tool_calls"):  # a call of a tool may stand instead of a text
        raise ValueError(f"{name} has no content: {shorten(message)}")
    if not isinstance(content, str | list | None):
        raise TypeError(f"{name} must have a text or a list of parts as its content: {shorten(message)}")


def _content_text(content: str | list[Any] | None) -> str:
    if isinstance(content, list):
        return "\n".join(_part_text(part) for part in content)
    return content or ""


def _part_text(part: Any) -> str:
    if isinstance(part, dict):
        text = part.get("text")
        return text if isinstance(text, str) else f"[{part.get('type', 'part')}]"
    return str(part)
