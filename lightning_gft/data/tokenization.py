"""Encoding prompts and demonstrations into token ids."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from lightning_gft.chat import TextError
from lightning_gft.data.encoding import TextEncoder
from lightning_gft.data.prompts import Answer, Prompt, Variables
from lightning_gft.data.rendering import PromptRenderer
from lightning_gft.data.responses import EncodedPrompt, ResponseWriter
from lightning_gft.errors import GFTValueError


class PromptEncoder:
    """Encodes prompts as the policy receives them, and responses as the policy would have written them.

    A prompt is rendered with the tokenizer's chat template up to the beginning of the assistant's turn, or with
    ``prompt_template``. What the tokenizer puts before a text, such as a beginning-of-sequence token, is added once; an
    end of sequence never is. A response is the rendered conversation after the prompt, up to the token that ends a turn
    in the template. If there is no such token, or no template, the end of sequence closes it. So the concatenated ids
    of prompt and response are those that the policy sees when it answers by itself.

    Args:
        tokenizer: Any tokenizer with an end-of-sequence token.
        prompt_template: Text around the prompt, which replaces ``{prompt}`` in it; for use without a chat template.
        use_chat_template: Whether to render prompts with the tokenizer's chat template; ``None`` does so if it has one.
        system_prompt: System message put before every conversation; for use with a chat template.
        chat_template_kwargs: Variables of the chat template, such as ``{"enable_thinking": False}``.
        response_prefix: Beginning of every response, which is part of the prompt for own samples and demonstrations
            alike.

    Raises:
        ValueError: If the tokenizer lacks a token or template that is needed, or an option would have no effect.

    Example:
        >>> from tokenizers import Tokenizer, models, pre_tokenizers
        >>> from transformers import PreTrainedTokenizerFast
        >>> words = Tokenizer(models.WordLevel({"</s>": 0, "?": 1, "Q": 2, "A": 3, "two": 4}, unk_token="?"))
        >>> words.pre_tokenizer = pre_tokenizers.Whitespace()
        >>> encoder = PromptEncoder(
        ...     PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>"), prompt_template="Q {prompt} A"
        ... )
        >>> prompts = encoder.encode_prompts(["two"])
        >>> prompts[0].token_ids, encoder.encode_responses(prompts, ["two two"])
        ([2, 4, 3], [[4, 4, 0]])
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        prompt_template: str = "{prompt}",
        use_chat_template: bool | None = None,
        system_prompt: str = "",
        chat_template_kwargs: Mapping[str, Any] | None = None,
        response_prefix: str = "",
    ) -> None:
        self.tokenizer = tokenizer
        self._eos_token_id = _eos_token_id(tokenizer)
        self._renderer = PromptRenderer(
            tokenizer, prompt_template, use_chat_template, system_prompt, chat_template_kwargs, response_prefix
        )
        template = self._renderer.template
        self._texts = TextEncoder(tokenizer, adds_beginning=template is None)
        self._writer = ResponseWriter(tokenizer, template, response_prefix)

    @property
    def uses_chat_template(self) -> bool:
        """Whether prompts are rendered with the tokenizer's chat template."""
        return self._renderer.template is not None

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments that shape prompts, as plain values; those without an effect are left out."""
        renderer = self._renderer
        variables = {} if renderer.template is None else renderer.template.variables
        written = {
            "system_prompt": renderer.system_prompt,
            "chat_template_kwargs": _plain(variables),
            "response_prefix": renderer.response_prefix,
        }
        template = {} if self.uses_chat_template else {"prompt_template": renderer.prompt_template}
        kept = {name: value for name, value in written.items() if value}
        return {"use_chat_template": self.uses_chat_template, **template, **kept}

    def render(self, prompt: Prompt, variables: Variables | None = None) -> str:
        """Return the text that a prompt's ids encode."""
        return self._renderer.render([prompt], [variables or {}])[0][0]

    def encode_prompts(
        self, prompts: Sequence[Prompt], variables: Sequence[Variables] | None = None
    ) -> list[EncodedPrompt]:
        """Return each prompt exactly as the policy receives it."""
        variables = [{}] * len(prompts) if variables is None else variables
        rendered = self._renderer.render(prompts, variables)
        self._renderer.check_losses(rendered, variables)
        ids = self._texts.encode_prompts([text for text, _ in rendered])
        return [EncodedPrompt(text, row, conversation) for (text, conversation), row in zip(rendered, ids, strict=True)]

    def known_prompts(
        self, prompts: Sequence[Prompt], variables: Sequence[Variables], token_ids: Sequence[list[int]]
    ) -> list[EncodedPrompt]:
        """Return prompts that were encoded before, with their ids, without repeating the checks."""
        rendered = self._renderer.render(prompts, variables)
        return [EncodedPrompt(text, ids, talk) for (text, talk), ids in zip(rendered, token_ids, strict=True)]

    def encode_responses(self, prompts: Sequence[EncodedPrompt], answers: Sequence[Answer]) -> list[list[int]]:
        """Return the ids of each given response: those after its prompt, with one end."""
        return [ids for ids, _ in self.encode_written(prompts, answers)]

    def encode_written(
        self, prompts: Sequence[EncodedPrompt], answers: Sequence[Answer]
    ) -> list[tuple[list[int], bool]]:
        """Return the ids of each given response, and whether the chat template writes all of it."""
        if not answers:
            return []
        written = self._writer.write(prompts, answers)
        self._renderer.check_answers(prompts, answers)
        ids = self._texts.encode_after(
            [prompt.text for prompt in prompts], [prompt.token_ids for prompt in prompts], [text for text, _ in written]
        )
        stops = self._writer.stops
        return [
            (self._ended(row, stops, index), rendered)
            for index, (row, (_, rendered)) in enumerate(zip(ids, written, strict=True))
        ]

    def _ended(self, ids: list[int], stops: set[int], index: int) -> list[int]:
        ended = ids if ids and ids[-1] in stops else [*ids, self._eos_token_id]
        if stops.isdisjoint(ended[:-1]):
            return ended
        names = " or ".join(map(repr, self.tokenizer.convert_ids_to_tokens(sorted(stops))))
        raise TextError(
            f"expected a response without {names} before its end, where generation would stop: remove it, or make the "
            "text after it a row of its own",
            index,
        )


def _plain(value: Any) -> Any:
    """Return a value of text, numbers, lists and dictionaries; any other object is the text that a template writes."""
    if isinstance(value, Mapping):
        return {key if isinstance(key, int) else str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return json.loads(json.dumps(value, default=str))


def _eos_token_id(tokenizer: PreTrainedTokenizerBase) -> int:
    if tokenizer.eos_token_id is None:
        raise GFTValueError(
            "the tokenizer: expected an end-of-sequence token, which ends every response and pads rows if there is no "
            'padding token, got none; set one of its tokens, as in `tokenizer.eos_token = "</s>"`'
        )
    return int(tokenizer.eos_token_id)
