"""Splits the text of a response into the texts of its tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from os.path import commonprefix
from typing import Any

from transformers import PreTrainedTokenizerBase

_UNFINISHED = "\ufffd"
"""The replacement character: a tokenizer decodes bytes of an invalid or incomplete character to it."""
_MOST_BYTES = 4
"""Most bytes, and so most tokens, of one character."""


def token_texts(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> list[str]:
    """Return the text of each token, special tokens included; joined, they are the text of the response.

    The last of several tokens of one character gets the character. Each token is decoded together with those before
    it, since alone it may lose its leading space. ``DecodeStream`` of tokenizers is no alternative: it raises an error
    for bytes that form no character, which a policy may well sample.

    Args:
        tokenizer: The policy's tokenizer.
        token_ids: Token ids of one response.

    Example:
        >>> from lightning_gft import ScratchPolicy
        >>> tokenizer = ScratchPolicy("0123456789+-=").tokenizer
        >>> token_texts(tokenizer, tokenizer.encode("1+1=2"))
        ['1', '+', '1', '=', '2']
    """
    decode = _decoder(tokenizer)
    texts: list[str] = []
    begin, done, before = 0, 0, ""  # `before` is the text of the tokens from `begin` to `done`
    for end in range(1, len(token_ids) + 1):
        text = decode(list(token_ids[begin:end]))
        if text.endswith(_UNFINISHED) and end < len(token_ids) and end - done < _MOST_BYTES:
            texts.append("")
            continue
        texts.append(text[len(commonprefix([before, text])) :])  # noqa: RUF071 (character by character is meant)
        if last := decode(list(token_ids[done:end])):
            begin, before = done, last
        else:  # an id without a token gives no text to decode the next token after
            before = text
        done = end
    return texts


def _decoder(tokenizer: PreTrainedTokenizerBase) -> Callable[[list[int]], str]:
    # The backend decodes several times as fast; a tokenizer in pure Python has none.
    decoding: Any = getattr(tokenizer, "backend_tokenizer", None) or tokenizer
    return partial(decoding.decode, skip_special_tokens=False)
