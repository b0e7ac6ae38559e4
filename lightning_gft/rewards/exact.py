"""A reward for responses that equal the reference word for word."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

from typing_extensions import override

from lightning_gft.errors import GFTValueError
from lightning_gft.rewards.references import ReferenceReward
from lightning_gft.rewards.text import after_marker, shown


class ExactMatchReward(ReferenceReward[str]):
    """1 if the response equals the reference, else 0.

    A list of references accepts any of them. Texts are compared in Unicode's composed form, so that the encoding of an
    "é" makes no difference.

    Args:
        marker: Text before the answer: only what follows the last marker is compared, and a response without one
            scores 0. A reference that has the marker is read in the same way. Without a marker the whole response
            counts.
        strip: Whether white space around the response and the reference is ignored.
        ignore_case: Whether upper and lower case are equal.
        weight: Weight of the score in the total.

    Raises:
        ValueError: If the weight is not finite; on a call, if a reference is neither text nor a whole number.

    Example:
        >>> reward = ExactMatchReward(marker="Answer:", ignore_case=True)
        >>> reward(prompts=["Capital of France?"] * 2, responses=["Answer: paris", "paris"], references=["Paris"] * 2)
        tensor([1., 0.])
    """

    def __init__(self, marker: str = "", strip: bool = True, ignore_case: bool = False, weight: float = 1.0) -> None:
        super().__init__(marker, weight)
        self.strip = strip
        self.ignore_case = ignore_case

    @override
    def agrees(self, response: str, expected: Sequence[str]) -> bool:
        return self.read_answer(response, {}) in expected

    @override
    def reads_answers(self) -> bool:
        return True

    @override
    def read_answer(self, response: str, columns: Mapping[str, Any]) -> str | None:
        answer = after_marker(response, self.marker)
        return None if answer is None else self._normalize(answer) or None

    @override
    def read_reference(self, reference: Any) -> str:
        if reference is None:
            raise GFTValueError(
                "the reference of ExactMatchReward: expected a text, got null; give every row a reference"
            )
        text = str(reference)
        answer = after_marker(text, self.marker)
        if isinstance(reference, str) and not (text if answer is None else answer).strip():
            raise GFTValueError(
                f"the reference of ExactMatchReward: expected a text that is not blank, got {shown(reference)}, "
                "which an empty response equals; correct the data"
            )
        # No response writes 14 as "14.0", and a boolean may be written as "True" or "true".
        if not isinstance(reference, str | Integral) or isinstance(reference, bool):
            raise GFTValueError(
                "the reference of ExactMatchReward: expected a text or a whole number, got "
                f"{shown(reference)}; turn the column into text, or use NumericReward for numbers"
            )
        return self._normalize(text if answer is None else answer)

    def _normalize(self, text: str) -> str:
        text = unicodedata.normalize("NFC", text)
        text = text.strip() if self.strip else text
        return unicodedata.normalize("NFC", text.casefold()) if self.ignore_case else text
