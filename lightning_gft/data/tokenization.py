"""How a prompt and a demonstration become token ids: the one place that decides it."""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from lightning_gft.data.coverage import CoverageCheck
from lightning_gft.data.errors import TextError
from lightning_gft.data.prompts import Messages, Prompt, check_prompt

_TEXTS_AT_ONCE = 4096  # many, to be fast; not all, because a tokenizer's own records are many times the size of the ids


class PromptEncoder:
    """Encodes prompts as the policy is given them, and responses as the policy would have written them.

    A prompt goes through the tokenizer's chat template, ending where the assistant begins to speak, or else through
    ``prompt_template``, with whatever the tokenizer puts before a text (a beginning-of-sequence token, say) but never
    an end of sequence. A response has no special tokens but the end of sequence, which closes it. So prompt and
    response ids, one after the other, are what the policy sees when it answers by itself.

    Args:
        tokenizer: Any tokenizer with an end-of-sequence token.
        prompt_template: Text around the prompt, which takes the place of ``{prompt}``; for use without a chat template.
        use_chat_template: Whether prompts go through the tokenizer's chat template; ``None`` means if it has one.
        system_prompt: System message put before every conversation; for use with a chat template.

    Raises:
        ValueError: If the tokenizer lacks what is needed, or an option could have no effect.

    Example:
        >>> from tokenizers import Tokenizer, models, pre_tokenizers
        >>> from transformers import PreTrainedTokenizerFast
        >>> words = Tokenizer(models.WordLevel({"</s>": 0, "?": 1, "Q": 2, "A": 3, "two": 4}, unk_token="?"))
        >>> words.pre_tokenizer = pre_tokenizers.Whitespace()
        >>> encoder = PromptEncoder(
        ...     PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>"), prompt_template="Q {prompt} A"
        ... )
        >>> encoder.encode_prompts(["two"]), encoder.encode_responses(["two two"])
        ([[2, 4, 3]], [[4, 4, 0]])
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        prompt_template: str = "{prompt}",
        use_chat_template: bool | None = None,
        system_prompt: str = "",
    ) -> None:
        self.tokenizer = tokenizer
        self.prompt_template = prompt_template
        self.system_prompt = system_prompt
        has_chat_template = tokenizer.chat_template is not None
        self.uses_chat_template = has_chat_template if use_chat_template is None else use_chat_template
        self._eos_token_id = _eos_token_id(tokenizer)
        self._coverage = CoverageCheck(tokenizer)
        self._check_options(has_chat_template)

    def render(self, prompt: Prompt) -> str:
        """Return the text that a prompt's ids stand for.

        Args:
            prompt: A text, or a conversation that ends before the assistant's turn.

        Raises:
            ValueError: If the prompt is a conversation that cannot be rendered.
            TypeError: If it is neither a text nor a conversation.
        """
        check_prompt(prompt)
        if self.uses_chat_template:
            return self._render_chat(self._conversation(prompt), add_generation_prompt=True)
        if isinstance(prompt, str):
            return self.prompt_template.replace("{prompt}", prompt)
        raise ValueError(
            "the prompt is a list of messages, which only a chat template can render, and none is in use: "
            + ("leave `use_chat_template` alone, " if self.tokenizer.chat_template is not None else "")
            + "give the tokenizer a template with `chat_template=` (a path or the template itself), or use prompts "
            "that are strings"
        )

    def encode_prompts(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Return the ids of each prompt, exactly as the policy is given it.

        Args:
            prompts: Texts or conversations.

        Raises:
            TextError: If a prompt cannot be rendered, or the tokenizer would lose a part of it.
            TypeError: If a prompt is neither a text nor a conversation.
        """
        texts = [self._render_one(prompt, index) for index, prompt in enumerate(prompts)]
        if self.uses_chat_template:
            return self._encode(texts, add_special_tokens=False)  # the template has written them already
        ids = self._encode(texts, add_special_tokens=True)
        return [row[:-1] for row in ids] if self._appends_eos() else ids

    def encode_responses(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each given response: its own tokens and one end of sequence.

        Args:
            texts: Responses, with or without the end-of-sequence token written out.

        Raises:
            TextError: If the tokenizer would lose a part of a response.
        """
        eos = self._eos_token_id
        ids = self._encode(texts, add_special_tokens=False)
        return [row if row and row[-1] == eos else [*row, eos] for row in ids]

    def check_prefix(self, prompt: Prompt, response: str) -> None:
        """Refuse a chat template that would put a response elsewhere than after the prompt that the policy is given.

        Args:
            prompt: A text or a conversation.
            response: What the assistant answers.

        Raises:
            ValueError: If the rendered prompt does not begin the rendered conversation.
        """
        if not self.uses_chat_template:
            return
        opening = self.render(prompt)
        answered = [*self._conversation(prompt), {"role": "assistant", "content": response}]
        conversation = self._render_chat(answered, add_generation_prompt=False)
        if conversation.startswith(opening):
            return
        shared = next(i for i, char in enumerate(opening) if conversation[i : i + 1] != char)
        raise ValueError(
            "the chat template renders a prompt differently once it is answered, so demonstrations would not follow "
            f"the prompt that the policy is given. After {opening[:shared][-40:]!r} the prompt goes on with "
            f"{opening[shared:][:40]!r}, the conversation with {conversation[shared:][:40]!r}. Give the tokenizer a "
            "`chat_template` whose generation prompt opens the assistant's message as the conversation does, or set "
            "`use_chat_template: false` and use `prompt_template`"
        )

    def _render_one(self, prompt: Prompt, index: int) -> str:
        try:
            return self.render(prompt)
        except ValueError as error:
            raise TextError(str(error), index) from error

    def _check_options(self, has_chat_template: bool) -> None:
        if not isinstance(self.prompt_template, str):
            raise ValueError(
                f"prompt_template={self.prompt_template!r} must be a text; '{{prompt}}' stands for the prompt as it is"
            )
        if "{prompt}" not in self.prompt_template:
            raise ValueError(
                f"prompt_template={self.prompt_template!r} has no place for the prompt: write {{prompt}} in it"
            )
        if not self.uses_chat_template:
            if self.system_prompt:
                raise ValueError("system_prompt needs a chat template: write it into `prompt_template` instead")
            return
        if not has_chat_template:
            raise ValueError(
                "use_chat_template=True, but the tokenizer has no chat template: give it one with `chat_template=` (a "
                "path or the template itself), or use `prompt_template`"
            )
        if self.prompt_template != "{prompt}":
            raise ValueError(
                f"prompt_template={self.prompt_template!r} would have no effect beside the tokenizer's chat template: "
                "set `use_chat_template: false` to use it, or leave it out"
            )

    def _conversation(self, prompt: Prompt) -> Messages:
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        roles = [message["role"] for message in messages]
        if roles and roles[-1] == "assistant":
            raise ValueError("the prompt ends in an assistant's message: leave to the response what is the assistant's")
        if not self.system_prompt:
            return messages
        if "system" in roles:
            raise ValueError("the prompt has a system message of its own: leave `system_prompt` out, or the message")
        return [{"role": "system", "content": self.system_prompt}, *messages]

    def _render_chat(self, messages: Messages, *, add_generation_prompt: bool) -> str:
        try:
            rendered = str(
                self.tokenizer.apply_chat_template(
                    messages, tokenize=False, add_generation_prompt=add_generation_prompt
                )
            )
        except (TemplateError, TypeError) as error:
            raise ValueError(
                f"the chat template cannot render the conversation ({error}): correct its messages, or give the "
                "tokenizer another `chat_template`"
            ) from error
        if any(
            isinstance(message.get("content"), list) and str(message["content"]) in rendered for message in messages
        ):
            raise ValueError(
                "a message is a list of parts, which the chat template writes as Python does, brackets and all: make "
                "its content a text, or give the tokenizer a `chat_template` that takes parts"
            )
        return rendered

    def _encode(self, texts: Sequence[str], *, add_special_tokens: bool) -> list[list[int]]:
        ids: list[list[int]] = []
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            encoded = self.tokenizer(
                list(texts[start : start + _TEXTS_AT_ONCE]),
                add_special_tokens=add_special_tokens,
                return_attention_mask=False,
                return_token_type_ids=False,
                verbose=False,  # lengths are checked, and complained about, where the limits are known
            )
            ids.extend(encoded["input_ids"])
        self._coverage.check(texts, ids)
        return ids

    def _appends_eos(self) -> bool:
        # Asked of a text rather than of each prompt's last id, which an empty prompt's beginning of sequence may equal.
        return bool(self.tokenizer.encode("a")[-1:] == [self._eos_token_id])


def _eos_token_id(tokenizer: PreTrainedTokenizerBase) -> int:
    if tokenizer.eos_token_id is None:
        raise ValueError(
            "the tokenizer has no end-of-sequence token, with which every response ends and which fills rows up where "
            'there is no padding token: name one of its tokens, as in `tokenizer.eos_token = "</s>"`'
        )
    return int(tokenizer.eos_token_id)
