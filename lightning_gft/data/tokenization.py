"""How a prompt and a demonstration become token ids."""

from __future__ import annotations

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
    """Encodes prompts as the policy is given them, and responses as the policy would have written them.

    A prompt goes through the tokenizer's chat template, ending where the assistant begins to speak, or else through
    ``prompt_template``, with whatever the tokenizer puts before a text (a beginning-of-sequence token, say), once, but
    never an end of sequence. A response is what the rendered conversation has after the prompt, up to the token with
    which the template ends a turn; where no token does, or without a template, the end of sequence closes it. So
    prompt and response ids, one after the other, are what the policy sees when it answers by itself.

    Args:
        tokenizer: Any tokenizer with an end-of-sequence token.
        prompt_template: Text around the prompt, which takes the place of ``{prompt}``; for use without a chat template.
        use_chat_template: Whether prompts go through the tokenizer's chat template; ``None`` means if it has one.
        system_prompt: System message put before every conversation; for use with a chat template.
        chat_template_kwargs: Variables of the chat template, such as ``{"enable_thinking": False}``.
        response_prefix: What every response begins with; it belongs to the prompt, for own samples and demonstrations
            alike.

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
        """Whether prompts go through the tokenizer's chat template."""
        return self._renderer.template is not None

    def render(self, prompt: Prompt, variables: Variables | None = None) -> str:
        """Return the text of a prompt's ids."""
        return self._renderer.render([prompt], [variables or {}])[0][0]

    def encode_prompts(
        self, prompts: Sequence[Prompt], variables: Sequence[Variables] | None = None
    ) -> list[EncodedPrompt]:
        """Return each prompt, exactly as the policy is given it."""
        variables = [{}] * len(prompts) if variables is None else variables
        rendered = self._renderer.render(prompts, variables)
        self._renderer.check_losses(rendered, variables)
        ids = self._texts.encode_prompts([text for text, _ in rendered])
        return [EncodedPrompt(text, row, conversation) for (text, conversation), row in zip(rendered, ids, strict=True)]

    def known_prompts(
        self, prompts: Sequence[Prompt], variables: Sequence[Variables], token_ids: Sequence[list[int]]
    ) -> list[EncodedPrompt]:
        """Return prompts that were encoded before, with their ids, without looking for faults once more."""
        rendered = self._renderer.render(prompts, variables)
        return [EncodedPrompt(text, ids, talk) for (text, talk), ids in zip(rendered, token_ids, strict=True)]

    def encode_responses(self, prompts: Sequence[EncodedPrompt], answers: Sequence[Answer]) -> list[list[int]]:
        """Return the ids of each given response: what follows its prompt, and one end."""
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
            f"a response must not have {names} in its middle, where generation would stop: take it out, or give what "
            "follows a row of its own",
            index,
        )


def _eos_token_id(tokenizer: PreTrainedTokenizerBase) -> int:
    if tokenizer.eos_token_id is None:
        raise GFTValueError(
            "the tokenizer has no end-of-sequence token, with which every response ends and which fills rows up where "
            'there is no padding token: name one of its tokens, as in `tokenizer.eos_token = "</s>"`'
        )
    return int(tokenizer.eos_token_id)
