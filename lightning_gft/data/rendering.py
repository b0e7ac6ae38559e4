"""How a prompt becomes the text that the policy is given."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn
from transformers import PreTrainedTokenizerBase

from lightning_gft.chat import ChatTemplate, Conversation, LeftOutCheck, Messages, RenderedCheck, RenderError
from lightning_gft.checks import warn_of_written_break
from lightning_gft.data.errors import TextError
from lightning_gft.data.prompts import Answer, Prompt, Variables, check_prompt
from lightning_gft.data.responses import EncodedPrompt
from lightning_gft.errors import GFTValueError

Rendered = tuple[str, Conversation | None]
"""A prompt's text, and what the chat template made it of, if one is in use."""


class PromptRenderer:
    """Puts prompts into the tokenizer's chat template, or into ``prompt_template``.

    Args:
        tokenizer: The policy's.
        prompt_template: Text around the prompt.
        use_chat_template: Whether prompts go through the chat template; ``None`` means if there is one.
        system_prompt: System message put before every conversation.
        chat_template_kwargs: Variables of the chat template.
        response_prefix: What the prompt ends with, and every response begins with.

    Raises:
        ValueError: If an option could have no effect.
    """

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
        if self.template is None:
            return
        _check_variables(self.template)
        self._check_system_prompt(self.template)
        self._left_out = LeftOutCheck(self.template)
        self._rendered = RenderedCheck(self.template)

    def render(self, prompts: Sequence[Prompt], variables: Sequence[Variables]) -> list[Rendered]:
        """Return the text of each prompt.

        Args:
            prompts: Texts, or conversations that end before the assistant's turn.
            variables: What else the chat template is given with each.

        Raises:
            TextError: If a prompt cannot be rendered.
            TypeError: If it is neither a text nor a conversation.
        """
        for prompt in prompts:
            check_prompt(prompt)
        if self.template is None:
            return [(self._begin(self._insert(prompt, index)), None) for index, prompt in enumerate(prompts)]
        conversations = [
            Conversation(self._messages(prompt, index), self._read(own, index))
            for index, (prompt, own) in enumerate(zip(prompts, variables, strict=True))
        ]
        try:
            texts = self.template.render_all(conversations, add_generation_prompt=True)
        except RenderError as error:
            raise TextError(str(error), error.index) from error
        for index, (text, conversation) in enumerate(zip(texts, conversations, strict=True)):
            _check_parts(text, conversation, index)
        return [(self._begin(text), conversation) for text, conversation in zip(texts, conversations, strict=True)]

    def check_losses(self, rendered: Sequence[Rendered], variables: Sequence[Variables]) -> None:
        """Refuse messages that the chat template leaves out, and warn of what else does not reach the prompt.

        Args:
            rendered: What :meth:`render` returned.
            variables: What it was given.

        Raises:
            TextError: If a message is left out, or is a whole rendered conversation.
        """
        conversations = [conversation for _, conversation in rendered if conversation is not None]
        reads = frozenset() if self.template is None else self.template.reads
        lost = Counter(f"`{name}`" for own in variables for name in own if name not in reads)
        written = "`prompt_template`" if self.template is None else "the chat template"
        if conversations:
            try:
                lost += self._left_out.count(conversations)
                twice = self._rendered.count(conversations)
            except RenderError as error:
                raise TextError(str(error), error.index) from error
            if twice:
                rank_zero_warn(
                    f"{twice} of {len(rendered)} prompts hold tokens with which the chat template begins or ends a "
                    "turn, and which the policy takes for that: take them out, or set `use_chat_template: false` if "
                    "the prompts are rendered already"
                )
        warn_of_losses(lost, written)

    def check_answers(self, prompts: Sequence[EncodedPrompt], answers: Sequence[Answer]) -> None:
        """Refuse, or warn of, what the chat template leaves out of demonstrations that hold more than a text.

        Args:
            prompts: The prompt of each demonstration.
            answers: Demonstrations.

        Raises:
            TextError: If the content of one is left out.
        """
        if self.template is None:
            return
        whole = [
            (index, prompt.conversation.answered(answer))
            for index, (prompt, answer) in enumerate(zip(prompts, answers, strict=True))
            if prompt.conversation is not None and not isinstance(answer, str)
        ]
        try:
            lost = self._left_out.count([conversation for _, conversation in whole], add_generation_prompt=False)
        except RenderError as error:
            raise TextError(str(error), whole[error.index][0]) from error
        warn_of_losses(lost, "the chat template")

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
        assert self.template is not None  # noqa: S101 (only then are there conversations)
        read = {name: value for name, value in variables.items() if name in self.template.reads}
        for name, value in read.items():
            if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
                raise TextError(f"`{name}`: expected a list of objects for the chat template, got {value!r:.80}", index)
        return read

    def _check_options(self, uses_chat_template: bool, kwargs: Mapping[str, Any]) -> None:
        for field in ("prompt_template", "system_prompt", "response_prefix"):
            if not isinstance(getattr(self, field), str):
                raise GFTValueError(f"{field}={getattr(self, field)!r} must be a text" + _MEANING.get(field, ""))
            warn_of_written_break(field, getattr(self, field))
        if "{prompt}" not in self.prompt_template:
            raise GFTValueError(
                f"prompt_template={self.prompt_template!r} has no place for the prompt: write {{prompt}} in it"
            )
        if not uses_chat_template:
            if self.system_prompt:
                raise GFTValueError("system_prompt needs a chat template: write it into `prompt_template` instead")
            if kwargs:
                raise GFTValueError("chat_template_kwargs needs a chat template: leave it out, or use one")
            return
        if not self.has_chat_template:
            raise GFTValueError(
                "use_chat_template=True, but the tokenizer has no chat template: give it one with `chat_template=` (a "
                "path or the template itself), or use `prompt_template`"
            )
        if self.prompt_template != "{prompt}":
            raise GFTValueError(
                f"prompt_template={self.prompt_template!r} would have no effect beside the tokenizer's chat template: "
                "set `use_chat_template: false` to use it, or leave it out"
            )

    def _check_system_prompt(self, template: ChatTemplate) -> None:
        if not self.system_prompt:
            return
        question = {"role": "user", "content": "Question1"}
        conversations = [
            Conversation([{"role": "system", "content": text}, question])
            for text in (self.system_prompt, f"{self.system_prompt} Mark1")
        ]
        try:
            one, other = template.render_all(conversations, add_generation_prompt=True)
        except RenderError as error:
            raise GFTValueError(f"system_prompt: {error}") from error
        if one == other:
            raise GFTValueError(
                f"system_prompt={self.system_prompt!r} would be left out by the chat template: put it into the "
                "prompts, or give the tokenizer another `chat_template`"
            )


_MEANING = {"prompt_template": "; '{prompt}' stands for the prompt as it is"}


def warn_of_losses(lost: Counter[str], written: str) -> None:
    """Warn of what does not reach the policy.

    Args:
        lost: In how many rows, by name.
        written: What would have to write it.
    """
    if lost:
        counts = ", ".join(f"{name} (in {count} rows)" for name, count in sorted(lost.items()))
        rank_zero_warn(f"{written} does not write, and the policy does not see: {counts}")


def _check_variables(template: ChatTemplate) -> None:
    reserved = {"messages", "add_generation_prompt"}
    known = sorted(template.reads - reserved)
    for name in template.variables:
        if name in known:
            continue
        closest = difflib.get_close_matches(name, known, n=1)
        raise GFTValueError(
            f"chat_template_kwargs: the chat template reads no {name!r}"
            + (f"; did you mean {closest[0]!r}?" if closest else f"; it reads {', '.join(map(repr, known)) or 'none'}")
        )


def _check_parts(text: str, conversation: Conversation, index: int) -> None:
    contents = (message.get("content") for message in conversation.messages)
    if any(isinstance(content, list) and str(content) in text for content in contents):
        raise TextError(
            "a message is a list of parts, which the chat template writes as Python does, brackets and all: make "
            "its content a text, or give the tokenizer a `chat_template` that takes parts",
            index,
        )
