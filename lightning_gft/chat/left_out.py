"""Finding data that a chat template leaves out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from typing import Any

from lightning_gft.chat.template import ChatTemplate, Conversation, RenderError
from lightning_gft.checks import shorten

_MARK = "Mark1"

Loss = frozenset[str]


class LeftOutCheck:
    """Finds data that a chat template leaves out, by rendering conversations with and without them.

    Templates depend on a message's role, its keys and its neighbours, so one message of each such kind is tried.

    Example:
        >>> from lightning_gft import ScratchPolicy
        >>> tokenizer = ScratchPolicy("ab").tokenizer
        >>> tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
        >>> turn = {"role": "user", "content": "a", "name": "Ann"}
        >>> LeftOutCheck(ChatTemplate(tokenizer)).count([Conversation([turn])])
        Counter({"`name` of 'user' messages": 1})
    """

    def __init__(self, template: ChatTemplate) -> None:
        self.template = template
        self._known: dict[Hashable, Loss] = {}

    def count(self, conversations: Sequence[Conversation], *, add_generation_prompt: bool = True) -> Counter[str]:
        """Count the conversations that lose data, by names of the data that a warning can show."""
        lost = Counter[str]()
        for index, conversation in enumerate(conversations):
            found: set[str] = set()
            for kind, number in _kinds(conversation, add_generation_prompt):
                if kind not in self._known:
                    self._known[kind] = self._find(conversation, number, index, add_generation_prompt)
                found |= self._known[kind]
            lost.update(found)
        return lost

    def _find(self, conversation: Conversation, number: int | str, index: int, prompted: bool) -> Loss:
        rendered = self.template.render(conversation, add_generation_prompt=prompted)

        def is_lost(changed: Conversation) -> bool:
            try:
                return self.template.render(changed, add_generation_prompt=prompted) == rendered
            except RenderError:
                return False  # the template reads it

        if isinstance(number, str):
            others = {name: value for name, value in conversation.variables.items() if name != number}
            return frozenset({f"`{number}`"} if is_lost(Conversation(conversation.messages, others)) else ())
        message = conversation.messages[number]
        if any(is_lost(_replaced(conversation, number, changed)) for changed in _other_contents(message)):
            raise RenderError(
                f"the chat template leaves out {_described(message)}, message {number} (counting from 0): give its "
                "text to a role that the template writes, or give the tokenizer another `chat_template`",
                index,
            )
        return frozenset(
            f"`{key}` of {message['role']!r} messages"
            for key, value in message.items()
            if key not in ("role", "content")
            and value
            and is_lost(_replaced(conversation, number, {name: v for name, v in message.items() if name != key}))
        )


def _kinds(conversation: Conversation, prompted: bool) -> Iterator[tuple[Hashable, int | str]]:
    variables = frozenset(conversation.variables)
    for name in conversation.variables:
        yield name, name
    last = len(conversation.messages) - 1
    before = None
    for number, message in enumerate(conversation.messages):
        keys = frozenset(key for key, value in message.items() if value)
        content = message.get("content")
        parts = tuple(map(_part_kind, content)) if isinstance(content, list) else None
        yield (message["role"], keys, parts, before, number == last, variables, prompted), number
        before = message["role"]


def _part_kind(part: Any) -> str:
    return str(part.get("type")) if isinstance(part, dict) else ""


def _other_contents(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    content = message.get("content")
    if isinstance(content, str) and content.strip():
        yield {**message, "content": f"{content} {_MARK}"}
    if not isinstance(content, list):
        return
    for number, part in enumerate(content):
        others = [*content[:number], *content[number + 1 :]]
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            others.insert(number, {**part, "text": f"{part['text']} {_MARK}"})
        yield {**message, "content": others}


def _replaced(conversation: Conversation, number: int, message: dict[str, Any]) -> Conversation:
    messages = list(conversation.messages)
    messages[number] = message
    return Conversation(messages, conversation.variables)


def _described(message: dict[str, Any]) -> str:
    what = "a message" if isinstance(message["content"], str) else "a part of a message"
    return f"{what} of role {message['role']!r} ({shorten(message['content'], 60)})"
