"""A reward for giving the reference word for word."""

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
    """1 where the response equals the reference, else 0.

    A list of references means any of them. Texts are compared in Unicode's composed form, so that an "é" is one however
    it is encoded.

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
        # No response is written as "14.0" for 14, and whether "True" or "true" is meant for a truth value is open.
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
