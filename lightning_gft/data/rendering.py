"""Rendering prompts as the texts that the policy receives."""

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
"""A prompt's text, and its conversation; without a chat template, the conversation is one message of the user."""


class PromptRenderer:
    """Renders prompts with the tokenizer's chat template, or with ``prompt_template``."""

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
        """Return the text of each prompt, with its conversation."""
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
        """Raise an error for messages that the chat template omits, and warn of other data that it does not write."""
        lost = Counter(f"`{name}`" for own in variables for name in own if name not in self._reads)
        if self.template is not None:
            conversations = [conversation for _, conversation in rendered]
            lost += self._left_out.count(conversations)
            if twice := self._rendered.count(conversations):
                rank_zero_warn(
                    f"{twice} of {len(rendered)} prompts contain tokens that begin or end a turn in the chat template, "
                    "and the policy reads them as such: remove them, or set `use_chat_template: false` if the prompts "
                    "are already rendered"
                )
        self._warn_of_losses(lost)

    def check_answers(self, prompts: Sequence[EncodedPrompt], answers: Sequence[Answer]) -> None:
        """Raise an error or warn if the chat template omits a part of demonstrations that are more than a text."""
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
            rank_zero_warn(f"{written} does not write some of the data, which the policy does not see: {counts}")

    def _insert(self, prompt: Prompt, index: int) -> str:
        if isinstance(prompt, str):
            return self.prompt_template.replace("{prompt}", prompt)
        raise TextError(
            "expected a text without a chat template, got a prompt that is a list of messages: "
            + ("leave `use_chat_template` at its default, " if self.has_chat_template else "")
            + "give the tokenizer a template with `chat_template=` (a path or the template itself), or use prompts "
            "that are texts",
            index,
        )

    def _begin(self, text: str) -> str:
        return text if text.endswith(self.response_prefix) else text + self.response_prefix

    def _messages(self, prompt: Prompt, index: int) -> Messages:
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        roles = [message["role"] for message in messages]
        if roles and roles[-1] == "assistant":
            raise TextError(
                "expected a prompt that ends before the answer, got one that ends in a message of the assistant: to "
                "train on it, set `conversation_column` to the column; for a common beginning of all responses, use "
                "`response_prefix`",
                index,
            )
        if not self.system_prompt:
            return messages
        if "system" in roles:
            raise TextError(
                "expected a prompt without a system message beside `system_prompt`, got one: leave out either", index
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
                raise GFTValueError(f"`{field}`: expected a text{meaning}, got {getattr(self, field)!r}; give one")
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
        raise GFTValueError(
            f"`chat_template_kwargs`: expected variables that the chat template reads, got {name!r}{closest}"
        )


def _check_parts(text: str, conversation: Conversation, index: int) -> None:
    contents = (message.get("content") for message in conversation.messages)
    if any(isinstance(content, list) and str(content) in text for content in contents):
        raise TextError(
            "expected a chat template that renders lists of parts, got one that writes a message's parts as Python "
            "does, with brackets: make the content a text, or give the tokenizer a `chat_template` that takes parts",
            index,
        )
