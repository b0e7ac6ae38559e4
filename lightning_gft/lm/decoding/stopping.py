"""The tokens and texts that end a response."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

_BROKEN = "\ufffd"
"""The character that a tokenizer decodes incomplete UTF-8 bytes to."""


class StopStrings:
    """Finds the responses whose newest token completes a stop string.

    The search reads text, not tokens, because different tokens may spell the same text. A token is at least one byte of
    text, so a stop string lies within as many of the last tokens as it has bytes. Only these are decoded, and only
    after a token that contains the last character of a stop string.

    Args:
        tokenizer: Tokenizer that decodes the responses.
        strings: Non-empty texts that end a response.

    Example:
        >>> from lightning_gft import ScratchPolicy
        >>> tokenizer = ScratchPolicy(alphabet="abc").tokenizer
        >>> stop = StopStrings(tokenizer, ["bc"])
        >>> tokens = torch.tensor([tokenizer.encode("abc"), tokenizer.encode("acb")])
        >>> stop.completed(tokens, rows=torch.arange(2), newest=tokens[:, -1].tolist())
        tensor([ True, False])
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, strings: Sequence[str]) -> None:
        self.tokenizer = tokenizer
        self.strings = tuple(strings)
        # One token more, because some tokenizers drop the space at the beginning of a text.
        self.reach = 1 + max(len(string.encode()) for string in self.strings)
        self._last_characters = {string[-1] for string in self.strings} | {_BROKEN}
        self._may_complete: dict[int, bool] = {}

    def completed(self, tokens: Tensor, rows: Tensor, newest: Sequence[int]) -> Tensor:
        """Return ``[N]`` booleans on the CPU; synchronises only where a newest token may complete a stop string.

        Args:
            tokens: ``[B, length]``, all tokens so far.
            rows: ``[N]``, rows of the responses that no stop string has ended yet, on the device of ``tokens``.
            newest: The last token of each of them, already on the CPU.
        """
        found = torch.zeros(len(rows), dtype=torch.bool)
        candidates = [n for n, token in enumerate(newest) if self._may(token)]
        if candidates:
            found[candidates] = self._completed(tokens, rows[torch.tensor(candidates, device=rows.device)])
        return found

    def _completed(self, tokens: Tensor, rows: Tensor) -> Tensor:
        texts = self._decode(tokens[:, -self.reach :][rows].tolist())
        found = torch.tensor([self._holds_one(text) for text in texts])
        # The last tokens may begin within a character, after which some tokenizers also break the next characters.
        unsure = [n for n, text in enumerate(texts) if text.startswith(_BROKEN) and not found[n]]
        if unsure and tokens.shape[1] > self.reach:
            whole = self._decode(tokens[rows[torch.tensor(unsure, device=rows.device)]].tolist())
            found[unsure] = torch.tensor([self._holds_one(text) for text in whole])
        return found

    def _may(self, token: int) -> bool:
        """Return whether a token may complete a stop string, by its text or as the last part of a character."""
        if token not in self._may_complete:
            # Decoded twice, because some tokenizers drop the space at the beginning of a text.
            [text] = self._decode([[token, token]])
            self._may_complete[token] = not self._last_characters.isdisjoint(text)
        return self._may_complete[token]

    def _decode(self, token_ids: list[list[int]]) -> list[str]:
        # As in transformers, special tokens are decoded too: one of them may be the stop string.
        return self.tokenizer.batch_decode(token_ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def _holds_one(self, text: str) -> bool:
        return any(string in text for string in self.strings)


@dataclass(frozen=True)
class EndTokens:
    """What ends a response, and the token that pads a row.

    Args:
        eos_token_ids: Ids of the tokens that end a response.
        pad_token_id: Id of the token that pads rows to a common length.
        stop: Finder of the texts that end a response; ``None`` if there are none.
    """

    eos_token_ids: tuple[int, ...]
    pad_token_id: int
    stop: StopStrings | None = None
