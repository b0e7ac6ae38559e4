"""How a prompt becomes the text that the policy is given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn
from transformers import PreTrainedTokenizerBase

from lightning_gft.chat import ChatTemplate, Conversation, LeftOutCheck, Messages, RenderedCheck, RenderError, TextError
from lightning_gft.checks import did_you_mean, shorten
from lightning_gft.data.prompts import Answer, Prompt, Variables, check_prompt
from lightning_gft.data.responses import EncodedPrompt
from lightning_gft.errors import GFTValueError
from lightning_gft.markers import warn_of_written_break

Rendered = tuple[str, Conversation]
"""A prompt's text, and the conversation that it renders; one message of the user where no chat template is in use."""


class PromptRenderer:
    """Puts prompts into the tokenizer's chat template, or into ``prompt_template``."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        prompt_template: str,
        use_chat_template: bool | None,
        system_prompt: str,
        chat_template_kwargs: Mapping[str, Any] | None,
        response_prefix: str,
    ) -> None:
        self.prompt_template = prompt_template
        self.system_prompt = system_prompt
        self.response_prefix = response_prefix
        self.has_chat_template = tokenizer.chat_template is not None
        uses_chat_template = self.has_chat_template if use_chat_template is None else use_chat_template
        kwargs = chat_template_kwargs or {}
        self._check_options(uses_chat_template, kwargs)
        self.template = ChatTemplate(tokenizer, kwargs) if uses_chat_template else None
        self._reads = frozenset[str]() if self.template is None else self.template.reads
        if self.template is None:
            return
        _check_variables(self.template)
        self._left_out = LeftOutCheck(self.template)
        self._check_system_prompt()
        self._rendered = RenderedCheck(self.template)

    def render(self, prompts: Sequence[Prompt], variables: Sequence[Variables]) -> list[Rendered]:
        """Return the text of each prompt."""
        for prompt in prompts:
            check_prompt(prompt)
        if self.template is None:
            texts = [self._insert(prompt, index) for index, prompt in enumerate(prompts)]
        conversations = [
            Conversation(self._messages(prompt, index), self._read(own, index))
            for index, (prompt, own) in enumerate(zip(prompts, variables, strict=True))
        ]
        if self.template is not None:
            texts = self.template.render_all(conversations, add_generation_prompt=True)
            for index, (text, conversation) in enumerate(zip(texts, conversations, strict=True)):
                _check_parts(text, conversation, index)
        return [(self._begin(text), conversation) for text, conversation in zip(texts, conversations, strict=True)]

    def check_losses(self, rendered: Sequence[Rendered], variables: Sequence[Variables]) -> None:
        """Refuse messages that the chat template leaves out, and warn of what else does not reach the prompt."""
        lost = Counter(f"`{name}`" for own in variables for name in own if name not in self._reads)
        if self.template is not None:
            conversations = [conversation for _, conversation in rendered]
            lost += self._left_out.count(conversations)
            if twice := self._rendered.count(conversations):
                rank_zero_warn(
                    f"{twice} of {len(rendered)} prompts hold tokens with which the chat template begins or ends a "
                    "turn, and which the policy takes for that: take them out, or set `use_chat_template: false` if "
                    "the prompts are rendered already"
                )
        self._warn_of_losses(lost)

    def check_answers(self, prompts: Sequence[EncodedPrompt], answers: Sequence[Answer]) -> None:
        """Refuse, or warn of, what the chat template leaves out of demonstrations that hold more than a text."""
        if self.template is None:
            return
        whole = {
            index: prompt.conversation.answered(answer)
            for index, (prompt, answer) in enumerate(zip(prompts, answers, strict=True))
            if not isinstance(answer, str)
        }
        try:
            lost = self._left_out.count(list(whole.values()), add_generation_prompt=False)
        except RenderError as error:
            raise TextError(str(error), list(whole)[error.index]) from error
        self._warn_of_losses(lost)

    def _warn_of_losses(self, lost: Counter[str]) -> None:
        if lost:
            written = "`prompt_template`" if self.template is None else "the chat template"
            counts = ", ".join(f"{name} (in {count} rows)" for name, count in sorted(lost.items()))
            rank_zero_warn(f"{written} does not write, and the policy does not see: {counts}")

    def _insert(self, prompt: Prompt, index: int) -> str:
        if isinstance(prompt, str):
            return self.prompt_template.replace("{prompt}", prompt)
        raise TextError(
            "the prompt is a list of messages, which only a chat template can render, and none is in use: "
            + ("leave `use_chat_template` alone, " if self.has_chat_template else "")
            + "give the tokenizer a template with `chat_template=` (a path or the template itself), or use prompts "
            "that are strings",
            index,
        )

    def _begin(self, text: str) -> str:
        return text if text.endswith(self.response_prefix) else text + self.response_prefix

    def _messages(self, prompt: Prompt, index: int) -> Messages:
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        roles = [message["role"] for message in messages]
        if roles and roles[-1] == "assistant":
            raise TextError(
                "the prompt ends in an assistant's message: to train on it, name the column as `conversation_column`; "
                "for a beginning that all responses share, use `response_prefix`",
                index,
            )
        if not self.system_prompt:
            return messages
        if "system" in roles:
            raise TextError(
                "the prompt has a system message of its own: leave `system_prompt` out, or the message", index
            )
        return [{"role": "system", "content": self.system_prompt}, *messages]

    def _read(self, variables: Variables, index: int) -> Variables:
        read = {name: value for name, value in variables.items() if name in self._reads}
        for name, value in read.items():
            if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
                raise TextError(f"`{name}`: expected a list of objects for the chat template, got {value!r:.80}", index)
        return read

    def _check_options(self, uses_chat_template: bool, kwargs: Mapping[str, Any]) -> None:
        for field in ("prompt_template", "system_prompt", "response_prefix"):
            if not isinstance(getattr(self, field), str):
                meaning = _MEANING.get(field, "")
                raise GFTValueError(f"`{field}`: expected a text{meaning}, got {getattr(self, field)!r}; write one")
            warn_of_written_break(field, getattr(self, field))
        if "{prompt}" not in self.prompt_template:
            raise GFTValueError(
                f"`prompt_template`: expected a text with {{prompt}}, got {self.prompt_template!r}; write "
                "it where the prompt belongs"
            )
        if not uses_chat_template:
            if self.system_prompt:
                raise GFTValueError(
                    "`system_prompt`: expected none without a chat template, got "
                    f"{shorten(self.system_prompt)}; write it into `prompt_template`"
                )
            if kwargs:
                raise GFTValueError(
                    "`chat_template_kwargs`: expected none without a chat template, got "
                    f"{shorten(kwargs)}; leave it out, or use one"
                )
            return
        if not self.has_chat_template:
            raise GFTValueError(
                "`use_chat_template`: expected false or null for a tokenizer without a chat template, got "
                "true; give it one with `chat_template=` (a path or the template itself), or use `prompt_template`"
            )
        if self.prompt_template != "{prompt}":
            raise GFTValueError(
                f"`prompt_template`: expected none beside the tokenizer's chat template, got {self.prompt_template!r}; "
                "set `use_chat_template: false` to use it, or leave it out"
            )

    def _check_system_prompt(self) -> None:
        if not self.system_prompt:
            return
        system, question = {"role": "system", "content": self.system_prompt}, {"role": "user", "content": "Question1"}
        try:
            self._left_out.count([Conversation([system, question])])
        except RenderError as error:
            raise GFTValueError(f"`system_prompt`: {error}") from error


_MEANING = {"prompt_template": " in which '{prompt}' is replaced by the prompt"}


def _check_variables(template: ChatTemplate) -> None:
    reserved = {"messages", "add_generation_prompt"}
    known = sorted(template.reads - reserved)
    for name in template.variables:
        if name in known:
            continue
        closest = did_you_mean(name, known) or f"; it reads {', '.join(map(repr, known)) or 'none'}"
        raise GFTValueError(f"`chat_template_kwargs`: expected what the chat template reads, got {name!r}{closest}")


def _check_parts(text: str, conversation: Conversation, index: int) -> None:
    contents = (message.get("content") for message in conversation.messages)
    if any(isinstance(content, list) and str(content) in text for content in contents):
        raise TextError(
            "a message is a list of parts, which the chat template writes as Python does, brackets and all: make "
            "its content a text, or give the tokenizer a `chat_template` that takes parts",
            index,
        )
