"""What ends a response."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

_BROKEN = "\ufffd"
"""What a tokenizer writes for bytes that are no character."""


class StopStrings:
    """Finds the responses whose newest token completes one of several texts.

    It reads text, not tokens: the same text may be written by different tokens. A token is at least a byte of text, so
    that a stop string lies within as many of the last tokens as it has bytes, and only those are decoded.

    Args:
        tokenizer: Decodes.
        strings: The texts, none of them empty.

    Example:
        >>> from lightning_gft import ScratchPolicy
        >>> tokenizer = ScratchPolicy(alphabet="abc").tokenizer
        >>> stop = StopStrings(tokenizer, ["bc"])
        >>> stop.completed(torch.tensor([tokenizer.encode("abc"), tokenizer.encode("acb")]))
        tensor([ True, False])
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, strings: Sequence[str]) -> None:
        self.tokenizer = tokenizer
        self.strings = tuple(strings)
        # One token more, as some tokenizers drop the space that a text begins with.
        self.reach = 1 + max(len(string.encode()) for string in self.strings)

    def completed(self, tokens: Tensor) -> Tensor:
        """Return ``[N]`` booleans on the CPU.

        Args:
            tokens: ``[N, length]``, all tokens so far of responses that no stop string has ended yet.
        """
        texts = self._decode(tokens[:, -self.reach :])
        found = torch.tensor([self._holds_one(text) for text in texts])
        # The last tokens may begin within a character, of which some tokenizers then break the next ones too.
        unsure = [n for n, text in enumerate(texts) if text.startswith(_BROKEN) and not found[n]]
        if unsure and tokens.shape[1] > self.reach:
            whole = self._decode(tokens[torch.tensor(unsure, device=tokens.device)])
            found[unsure] = torch.tensor([self._holds_one(text) for text in whole])
        return found

    def _decode(self, tokens: Tensor) -> list[str]:
        # Special tokens are text here, as in transformers: one of them may be the stop string.
        return self.tokenizer.batch_decode(
            tokens.tolist(), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )

    def _holds_one(self, text: str) -> bool:
        return any(string in text for string in self.strings)


@dataclass(frozen=True)
class EndTokens:
    """What ends a response, and the token that fills a row up.

    Args:
        eos_token_ids: Tokens that end a response.
        pad_token_id: Token that fills a row up.
        stop: Texts that end a response; ``None`` if there are none.
    """

    eos_token_ids: tuple[int, ...]
    pad_token_id: int
    stop: StopStrings | None = None
