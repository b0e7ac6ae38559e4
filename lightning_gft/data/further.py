"""Encoding responses that are drawn during training in the same way as the data's demonstrations."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_gft.chat import TextError, special_tokens
from lightning_gft.data.examples import ExampleEncoder
from lightning_gft.data.prompts import is_blank
from lightning_gft.data.responses import EncodedPrompt
from lightning_gft.types import EncodedText, PromptBatch, Response

_Pair = tuple[EncodedPrompt, str]


class FurtherResponses:
    """Encodes texts that follow the prompts of a batch, token for token as if they were in the data.

    A text is rejected if it is blank, contains a token at which generation stops, is longer than demonstrations
    may be, or has characters that the tokenizer lacks.

    Args:
        examples: Encoder that tokenised the rows.

    Example:
        >>> from lightning_gft.arithmetic import ArithmeticDataModule, ArithmeticPolicy
        >>> data = ArithmeticDataModule(num_train=1)
        >>> data.tokenizer = ArithmeticPolicy().tokenizer
        >>> data.setup("fit")
        >>> batch = next(iter(data.train_dataloader()))
        >>> [[one, other]] = batch.encoder.encode(batch, [["1+1=2,#2", " "]])
        >>> len(one.response.token_ids), other.fault
        (9, 'it is blank')
    """

    def __init__(self, examples: ExampleEncoder) -> None:
        self.examples = examples.without_demonstrations()
        self._special = tuple(special_tokens(examples.prompts.tokenizer))

    def encode(self, prompts: PromptBatch, texts: Sequence[Sequence[str]]) -> list[list[EncodedText]]:
        """Return the encoded texts that follow each of ``P`` prompts."""
        rows = [{name: values[index] for name, values in prompts.columns.items()} for index in range(len(prompts))]
        read = self.examples.columns.read(rows)
        known = self.examples.prompts.known_prompts(
            [row.prompt for row in read], [row.variables for row in read], prompts.prompt_ids
        )
        encoded = iter(self._encode([(prompt, text) for prompt, own in zip(known, texts, strict=True) for text in own]))
        return [[next(encoded) for _ in own] for own in texts]

    def _encode(self, pairs: list[_Pair]) -> list[EncodedText]:
        """Encode all texts in one call, which is fast, and again without those that raise an error."""
        results = {index: EncodedText(None, "it is blank") for index, (_, text) in enumerate(pairs) if is_blank(text)}
        while left := [index for index in range(len(pairs)) if index not in results]:
            try:
                written = self.examples.prompts.encode_written(*zip(*(pairs[index] for index in left), strict=True))
            except TextError as error:
                results[left[error.index]] = EncodedText(None, str(error), rendered=False)
            else:
                for index, (ids, rendered) in zip(left, written, strict=True):
                    results[index] = self._judge(pairs[index], ids, rendered)
        return [results[index] for index in range(len(pairs))]

    def _judge(self, pair: _Pair, ids: list[int], rendered: bool) -> EncodedText:
        prompt, text = pair
        rendered = rendered and not self._holds_special(text)
        if not self.examples.has_room(len(prompt.token_ids), len(ids)):
            limit = self.examples.limit_name("response")
            return EncodedText(None, f"it has {len(ids)} tokens, and the limit is {limit}", rendered)
        return EncodedText(Response(ids), rendered=rendered)

    def _holds_special(self, text: str) -> bool:
        """Return whether a special token occurs before the end, where the data's own texts may have one too."""
        while (text := text.rstrip()).endswith(self._special):
            text = text.removesuffix(next(token for token in self._special if text.endswith(token)))
        return any(token in text for token in self._special)
