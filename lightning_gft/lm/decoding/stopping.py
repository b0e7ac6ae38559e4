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
    that a stop string lies within as many of the last tokens as it has bytes. Only those are decoded, and only behind a
    token that has the last character of a stop string.

    Args:
        tokenizer: Decodes.
        strings: The texts, none of them empty.

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
        # One token more, as some tokenizers drop the space that a text begins with.
        self.reach = 1 + max(len(string.encode()) for string in self.strings)
        self._last_characters = {string[-1] for string in self.strings} | {_BROKEN}
        self._may_complete: dict[int, bool] = {}

    def completed(self, tokens: Tensor, rows: Tensor, newest: Sequence[int]) -> Tensor:
        """Return ``[N]`` booleans on the CPU; waits for the device only where a newest token may complete a string.

        Args:
            tokens: ``[B, length]``, all tokens so far.
            rows: ``[N]``, those of responses that no stop string has ended yet; on the device of ``tokens``.
            newest: The last token of each of them, which the CPU has already.
        """
        found = torch.zeros(len(rows), dtype=torch.bool)
        candidates = [n for n, token in enumerate(newest) if self._may(token)]
        if candidates:
            found[candidates] = self._completed(tokens, rows[torch.tensor(candidates, device=rows.device)])
        return found

    def _completed(self, tokens: Tensor, rows: Tensor) -> Tensor:
        texts = self._decode(tokens[:, -self.reach :][rows].tolist())
        found = torch.tensor([self._holds_one(text) for text in texts])
        # The last tokens may begin within a character, of which some tokenizers then break the next ones too.
        unsure = [n for n, text in enumerate(texts) if text.startswith(_BROKEN) and not found[n]]
        if unsure and tokens.shape[1] > self.reach:
            whole = self._decode(tokens[rows[torch.tensor(unsure, device=rows.device)]].tolist())
            found[unsure] = torch.tensor([self._holds_one(text) for text in whole])
        return found

    def _may(self, token: int) -> bool:
        """Return whether a token may complete a stop string: its text, or a part of a character, could be its end."""
        if token not in self._may_complete:
            # Twice, as some tokenizers drop the space that a text begins with.
            [text] = self._decode([[token, token]])
            self._may_complete[token] = not self._last_characters.isdisjoint(text)
        return self._may_complete[token]

    def _decode(self, token_ids: list[list[int]]) -> list[str]:
        # Special tokens are text here, as in transformers: one of them may be the stop string.
        return self.tokenizer.batch_decode(token_ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)

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
