"""The text of each token of a response."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers.decoders import DecodeStream
from transformers import PreTrainedTokenizerBase

_UNFINISHED = "\ufffd"
"""What stands for a character that the response ends within."""


def token_texts(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> list[str]:
    """Return the text of each token, special tokens written out, so that together they are that of the response.

    A character of several tokens stands with the last of them. Each token is decoded behind those before it, since
    alone it may lose its leading space.

    Args:
        tokenizer: The policy's.
        token_ids: Of one response.

    Example:
        >>> from lightning_gft import ScratchPolicy
        >>> tokenizer = ScratchPolicy("0123456789+-=").tokenizer
        >>> token_texts(tokenizer, tokenizer.encode("1+1=2"))
        ['1', '+', '1', '=', '2']
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:  # one in Python, which knows no stream
        return [str(tokenizer.decode([token])) for token in token_ids]
    stream = DecodeStream(skip_special_tokens=False)
    steps = [stream.step(backend, token) for token in token_ids]
    texts = ["" if text is None else text for text in steps]
    if steps and steps[-1] is None:
        texts[-1] = _UNFINISHED
    return texts
