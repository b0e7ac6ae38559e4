"""Encoding texts into token ids, with one beginning of sequence and no character lost."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from lightning_gft.data.coverage import CoverageCheck

_TEXTS_AT_ONCE = 4096  # enough to be fast, but not all: a tokenizer's records take many times the memory of the ids


class TextEncoder:
    """Encodes prompts, and the texts that follow them.

    Example:
        >>> from lightning_gft import ScratchPolicy
        >>> encoder = TextEncoder(ScratchPolicy("0123456789+=").tokenizer, adds_beginning=True)
        >>> ids = encoder.encode_prompts(["1+1="])
        >>> ids, encoder.encode_after(["1+1="], ids, ["2"])
        ([[4, 13, 4, 14]], [[5]])
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, adds_beginning: bool) -> None:
        self.tokenizer = tokenizer
        self._adds_beginning = adds_beginning
        self._coverage = CoverageCheck(tokenizer)
        # Tried on a text: the last id of a prompt does not tell, as an empty prompt's beginning may equal the end.
        alone, whole = (self._tokenize(["a"], add_special_tokens=added)[0] for added in (False, True))
        self._adds_eos = adds_beginning and whole[-1:] == [tokenizer.eos_token_id]
        self._beginning = whole[: len(whole) - len(alone) - self._adds_eos] if adds_beginning else []

    def encode_prompts(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each prompt."""
        ids = self._encode(texts)
        self._coverage.check(texts, ids)
        return ids

    def encode_after(
        self, prompts: Sequence[str], prompt_ids: Sequence[list[int]], texts: Sequence[str]
    ) -> list[list[int]]:
        """Return the token ids of texts that follow their prompts, without changing the prompts' own ids."""
        whole = self._encode([prompt + text for prompt, text in zip(prompts, texts, strict=True)])
        ids = [row[len(prompt) :] for prompt, row in zip(prompt_ids, whole, strict=True)]
        merged = [
            index
            for index, (prompt, row) in enumerate(zip(prompt_ids, whole, strict=True))
            if row[: len(prompt)] != prompt
        ]
        # A token would span both. After a special token, a text is encoded as within another text, but separately.
        anchor = str(self.tokenizer.eos_token)
        apart = self._tokenize([anchor + texts[index] for index in merged], add_special_tokens=False)
        for index, row in zip(merged, apart, strict=True):
            ids[index] = row[1:]
        self._coverage.check(texts, ids)
        return ids

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        bos = self.tokenizer.bos_token
        if bos and self._beginning:  # white space before a beginning of sequence that the text itself writes is removed
            texts = [text.lstrip() if text.lstrip().startswith(bos) else text for text in texts]
        ids = self._tokenize(texts, add_special_tokens=self._adds_beginning)
        ids = [row[:-1] for row in ids] if self._adds_eos else ids
        return [self._with_one_beginning(row) for row in ids]

    def _with_one_beginning(self, row: list[int]) -> list[int]:
        size = len(self._beginning)
        while size and row[size : 2 * size] == self._beginning:
            row = row[size:]
        return row

    def _tokenize(self, texts: Sequence[str], *, add_special_tokens: bool) -> list[list[int]]:
        ids: list[list[int]] = []
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            encoded = self.tokenizer(
                list(texts[start : start + _TEXTS_AT_ONCE]),
                add_special_tokens=add_special_tokens,
                return_attention_mask=False,
                return_token_type_ids=False,
                verbose=False,  # lengths are checked where the limits are known
            )
            ids.extend(encoded["input_ids"])
        return ids
