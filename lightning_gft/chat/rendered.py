"""Finding prompts that a chat template has already been applied to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lightning_gft.chat.ends import any_token
from lightning_gft.chat.template import ChatTemplate, Conversation, Messages, RenderError

_QUESTION = "Question1"


class RenderedCheck:
    """Finds prompts that contain the tokens that the chat template writes around a turn.

    Example:
        >>> from lightning_gft import ScratchPolicy
        >>> tokenizer = ScratchPolicy("ab").tokenizer
        >>> tokenizer.chat_template = "{% for m in messages %}<pad>{{ m.content }}<eos>{% endfor %}"
        >>> check = RenderedCheck(ChatTemplate(tokenizer))
        >>> check.count([Conversation([{"role": "user", "content": "a<eos>b"}])])
        1
    """

    def __init__(self, template: ChatTemplate) -> None:
        question = Conversation([{"role": "user", "content": _QUESTION}])
        try:
            alone = template.render(question)
            whole = template.render(question, add_generation_prompt=True)
        except RenderError:
            alone = whole = ""  # the template needs other conversations
        self._tokens = any_token(template.tokenizer)
        self._opening = alone.partition(_QUESTION)[0].strip()
        self._prompt = whole[len(alone) :].strip() if whole.startswith(alone) else ""
        named = {template.tokenizer.bos_token, template.tokenizer.eos_token} - {None}
        self._control = {*self._tokens.findall(alone), *named}

    def count(self, conversations: Sequence[Conversation]) -> int:
        """Count the conversations that contain tokens that begin or end a turn in the template."""
        found = 0
        for index, conversation in enumerate(conversations):
            texts = [text for text in _texts(conversation.messages) if self._holds_control(text)]
            if any(map(self._is_rendered, texts)):
                raise RenderError(
                    "expected a prompt without a chat template's tokens, got one that is already rendered: set "
                    "`use_chat_template: false` to use it unchanged",
                    index,
                )
            found += bool(texts)
        return found

    def _holds_control(self, text: str) -> bool:
        return any(token in text for token in self._control)

    def _is_rendered(self, text: str) -> bool:
        begins = self._holds_control(self._opening) and text.strip().startswith(self._opening)
        return begins or bool(self._tokens.search(self._prompt) and text.strip().endswith(self._prompt))


def _texts(messages: Messages) -> Iterator[str]:
    for message in messages:
        content = message.get("content")
        if isinstance(content, str):
            yield content
        for part in content if isinstance(content, list) else []:
            if isinstance(part, dict) and isinstance(part.get("text"), str):
                yield part["text"]
