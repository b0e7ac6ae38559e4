"""A reward for giving the reference word for word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from lightning_gft.checks import check_marker
from lightning_gft.rewards.base import Reward
from lightning_gft.rewards.text import after_marker, shorten


class ExactMatchReward(Reward):
    """1 where the response equals the reference, else 0.

    Args:
        marker: The response is what follows the last marker, and scores 0 without one; a reference that has the marker
            is read likewise. Without a marker it is the whole response.
        strip: Whether white space around the response and the reference is ignored.
        ignore_case: Whether upper and lower case are the same.
        weight: What the score counts in the total.

    Raises:
        ValueError: If the weight is not finite; on a call, if a reference is neither text nor a whole number.

    Example:
        >>> reward = ExactMatchReward(marker="Answer:", ignore_case=True)
        >>> reward(prompts=["Capital of France?"] * 2, responses=["Answer: paris", "paris"], references=["Paris"] * 2)
        tensor([1., 0.])
    """

    def __init__(self, marker: str = "", strip: bool = True, ignore_case: bool = False, weight: float = 1.0) -> None:
        super().__init__(weight)
        check_marker("marker", marker)
        self.marker = marker
        self.strip = strip
        self.ignore_case = ignore_case

    def __call__(
        self, *, prompts: Sequence[str], responses: Sequence[str], references: Sequence[Any], **columns: Sequence[Any]
    ) -> Tensor:
        """Return ``[N]`` zeros and ones; see :meth:`Reward.__call__`."""
        pairs = zip(responses, references, strict=True)
        return torch.tensor([self._score(response, reference) for response, reference in pairs], dtype=torch.float32)

    @override
    def check_row(self, reference: Any, columns: Mapping[str, Any]) -> None:
        if reference is None:
            raise ValueError("the reference is null: ExactMatchReward has nothing to compare the response to")
        if isinstance(reference, str) and not reference.strip():
            raise ValueError(f"the reference {reference!r} is blank: ExactMatchReward would reward an empty response")
        # No response is written as "14.0" for 14, or as a list: such a reference would make every response wrong.
        if not isinstance(reference, str | Integral):
            raise ValueError(
                f"ExactMatchReward compares texts, and the reference {shorten(reference)} is a "
                f"{type(reference).__name__}: turn the column into text, or use NumericReward for numbers"
            )

    def _score(self, response: str, reference: Any) -> float:
        self.check_row(reference, {})
        answer, expected = after_marker(response, self.marker), after_marker(str(reference), self.marker)
        if answer is None:
            return 0.0
        return float(self._normalize(answer) == self._normalize(str(reference) if expected is None else expected))

    def _normalize(self, text: str) -> str:
        text = text.strip() if self.strip else text
        return text.casefold() if self.ignore_case else text
