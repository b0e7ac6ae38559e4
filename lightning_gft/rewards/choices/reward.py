"""A reward for multiple choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from lightning_gft.markers import check_marker
from lightning_gft.rewards.base import Reward
from lightning_gft.rewards.choices.options import ANY_LETTER, Choices, read_choices, read_reference
from lightning_gft.rewards.choices.reading import given_choices
from lightning_gft.rewards.columns import named_column
from lightning_gft.rewards.text import after_marker, alternatives


class MultipleChoiceReward(Reward):
    r"""1 if a response gives the right choice and no other, else 0.

    Accepted forms are ``(B)``, ``B.``, ``**B**``, ``Answer: B``, ``\boxed{B}``, ``The answer is B) Paris``, and the
    whole text of a choice if the data has the texts. The last box counts, or else the last "answer is", or else the
    whole response or its last line; two choices in that place are wrong. A lower-case letter counts only by itself or
    in brackets.

    Args:
        choices_column: Column with the choices: a list of texts, or ``{"text": [...], "label": [...]}``. Without it
            choices have only letters.
        marker: Text before the answer: only what follows the last marker is read, and a response without one scores 0.
        weight: Weight of the score in the total.

    Raises:
        ValueError: If the weight is not finite; on a call and before training, if a reference is no label, no position
            from 0 and not the text of one choice, or if choices are no texts.

    Example:
        >>> reward = MultipleChoiceReward(choices_column="choices")
        >>> responses = ["The answer is (B).", "paris", "A or B", "A"]
        >>> batch = {"prompts": ["Capital of France?"] * 4, "responses": responses, "references": ["B"] * 4}
        >>> reward(**batch, choices=[["Rome", "Paris"]] * 4)
        tensor([1., 1., 0., 0.])
    """

    def __init__(self, choices_column: str | None = None, marker: str = "", weight: float = 1.0) -> None:
        super().__init__(weight)
        check_marker("marker", marker)
        self.choices_column = choices_column
        self.marker = marker

    def __call__(
        self, *, prompts: Sequence[str], responses: Sequence[str], references: Sequence[Any], **columns: Sequence[Any]
    ) -> Tensor:
        """Return ``[N]`` zeros and ones; see :meth:`Reward.__call__`."""
        offered = self._offered(columns)
        rows = zip(responses, references, [None] * len(responses) if offered is None else offered, strict=True)
        return torch.tensor([self._is_right(*row) for row in rows], dtype=torch.float32)

    @override
    def reads_answers(self) -> bool:
        return True

    @override
    def read_answer(self, response: str, columns: Mapping[str, Any]) -> str | None:
        answer = after_marker(response, self.marker)
        return None if answer is None else ", ".join(sorted(given_choices(answer, self._choices(columns)))) or None

    @override
    def check_row(self, reference: Any, columns: Mapping[str, Any]) -> None:
        self._expected(reference, self._offered(columns))

    def _is_right(self, response: str, reference: Any, offered: Any) -> bool:
        choices, expected = self._expected(reference, offered)
        answer = after_marker(response, self.marker)
        return answer is not None and not expected.isdisjoint(given_choices(answer, choices))

    def _expected(self, reference: Any, offered: Any) -> tuple[Choices, frozenset[str]]:
        choices = ANY_LETTER if self.choices_column is None else read_choices(offered)
        return choices, frozenset(read_reference(one, choices) for one in alternatives(reference))

    def _choices(self, columns: Mapping[str, Any]) -> Choices:
        return ANY_LETTER if self.choices_column is None else read_choices(self._offered(columns))

    def _offered(self, columns: Mapping[str, Any]) -> Any:
        """Return the data's choices of one row or of a batch, or ``None`` without a column of them."""
        return None if self.choices_column is None else named_column(columns, self.choices_column, "choices_column")
