"""A reward for the format of a response."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import regex
import torch
from torch import Tensor
from typing_extensions import override

from lightning_gft.errors import GFTValueError
from lightning_gft.rewards.base import Reward
from lightning_gft.rewards.text import shown

_SECONDS = 5.0
"""Processor seconds after which a match is aborted; a regular one takes microseconds."""


class FormatReward(Reward):
    """1 if the response matches a regular expression, else 0.

    Args:
        pattern: Regular expression in Python's syntax; ``.`` also matches a line break.
        full_match: Whether the whole response must match, rather than any part of it.
        weight: Weight of the score in the total.
        special_tokens: Whether responses are decoded with their special tokens, except those that end them. Required if
            the pattern names one, such as ``<think>`` in a tokenizer where it is a special token.

    Raises:
        ValueError: If the pattern is not a regular expression, or the weight is not finite.
        TimeoutError: On a call, if a match takes more than five seconds, as ``(a+)+b`` does on some texts.

    Example:
        >>> reward = FormatReward(r"<think>.*</think>.+")
        >>> reward(prompts=["1+1="] * 2, responses=["<think>easy</think>2", "2"], references=["2"] * 2)
        tensor([1., 0.])
    """

    def __init__(
        self, pattern: str, full_match: bool = True, weight: float = 1.0, special_tokens: bool = False
    ) -> None:
        super().__init__(weight, special_tokens)
        self.pattern = pattern
        try:
            self._compiled = regex.compile(pattern, regex.DOTALL)
        except regex.error as error:
            raise GFTValueError(
                f"`pattern`: expected a regular expression, got {shown(pattern)} ({error}); correct it"
            ) from error
        self.full_match = full_match

    def __call__(
        self, *, prompts: Sequence[str], responses: Sequence[str], references: Sequence[Any], **columns: Sequence[Any]
    ) -> Tensor:
        """Return ``[N]`` zeros and ones; see :meth:`Reward.__call__`."""
        return torch.tensor([self._matches(response) for response in responses], dtype=torch.float32)

    @override
    def check_tokens(self, special_tokens: Collection[str]) -> None:
        named = [token for token in special_tokens if token.strip() and regex.escape(token) in self.pattern]
        if named and not self.special_tokens:
            from lightning.pytorch.utilities import rank_zero_warn

            rank_zero_warn(
                f"`pattern`: expected no special token of the tokenizer, got {max(named, key=len)!r} in "
                f"{self.pattern!r}, which is removed from every response before this reward reads it; set "
                "special_tokens: true if the response must hold it"
            )

    def _matches(self, response: str) -> bool:
        match = self._compiled.fullmatch if self.full_match else self._compiled.search
        try:
            return match(response, timeout=_SECONDS) is not None
        except TimeoutError as error:
            raise TimeoutError(
                f"`pattern`: expected a match within {_SECONDS:g} s, got none by {self.pattern!r} on "
                f"{shown(response)}; write it without nested repetitions"
            ) from error
