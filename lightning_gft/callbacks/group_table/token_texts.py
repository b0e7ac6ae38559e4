"""The text of each token of a response."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from os.path import commonprefix
from typing import Any

from transformers import PreTrainedTokenizerBase

_UNFINISHED = "\ufffd"
"""What a tokenizer writes for bytes that are no character, or not yet."""
_MOST_BYTES = 4
"""Bytes of a character, and so tokens of one, at most."""


def token_texts(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> list[str]:
    """Return the text of each token, special tokens written out, so that together they are that of the response.

    A character of several tokens stands with the last of them. Each token is decoded behind those before it, since
    alone it may lose its leading space. Not by a ``DecodeStream`` of tokenizers, which raises where bytes are no
    character, as a policy may well draw them.

    Args:
        tokenizer: The policy's.
        token_ids: Of one response.

    Example:
        >>> from lightning_gft import ScratchPolicy
        >>> tokenizer = ScratchPolicy("0123456789+-=").tokenizer
        >>> token_texts(tokenizer, tokenizer.encode("1+1=2"))
        ['1', '+', '1', '=', '2']
    """
    decode = _decoder(tokenizer)
    texts: list[str] = []
    begin, done, before = 0, 0, ""  # the text of the tokens from `begin` to `done` is known: what stands before
    for end in range(1, len(token_ids) + 1):
        text = decode(list(token_ids[begin:end]))
        if text.endswith(_UNFINISHED) and end < len(token_ids) and end - done < _MOST_BYTES:
            texts.append("")
            continue
        texts.append(text[len(commonprefix([before, text])) :])  # noqa: RUF071 (character by character is meant)
        if last := decode(list(token_ids[done:end])):
            begin, before = done, last
        else:  # an id that no token has gives no text for the next one to stand behind
            before = text
        done = end
    return texts


def _decoder(tokenizer: PreTrainedTokenizerBase) -> Callable[[list[int]], str]:
    # The backend's is several times as fast; a tokenizer in Python has none.
    decoding: Any = getattr(tokenizer, "backend_tokenizer", None) or tokenizer
    return partial(decoding.decode, skip_special_tokens=False)
