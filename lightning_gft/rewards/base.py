"""The contract of a reward."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from torch import Tensor

from lightning_gft.checks import check_number
from lightning_gft.parts import Part

ResponseFact = Literal["response_tokens", "response_source"]
"""What a reward may ask for: tokens of a response, its end included; and where it is from, such as ``"self"``."""


class Reward(Part, ABC):
    """Scores all responses of a batch in one call.

    A subclass raises where it has no score, as without a reference: a 0 would teach the policy that the
    response is wrong. What it counts and starts is a :class:`~lightning_gft.parts.Part`'s.

    Args:
        weight: What the score counts in the total; negative for a penalty, 0 to log the score alone.
        special_tokens: Whether the responses keep their special tokens, all but those that end them, such as
            ``<think>`` where a tokenizer has it.

    Raises:
        ValueError: If the weight is infinite or NaN.
        TypeError: If it is not a number.

    Example:
        >>> import torch
        >>> class Brevity(Reward):
        ...     def __call__(self, *, prompts, responses, references, **columns):
        ...         return torch.tensor([1.0 / (1 + len(response)) for response in responses])
        >>> Brevity(weight=0.5)(prompts=["1+1="], responses=["2"], references=["2"])
        tensor([0.5000])
    """

    def __init__(self, weight: float = 1.0, special_tokens: bool = False) -> None:
        self.weight = check_number("weight", weight, of=type(self).__name__)
        self.special_tokens = special_tokens

    @abstractmethod
    def __call__(
        self, *, prompts: Sequence[str], responses: Sequence[str], references: Sequence[Any], **columns: Sequence[Any]
    ) -> Tensor | Sequence[float | None]:
        """Return ``N`` scores without the weight, in the order of the responses, or ``None`` if it does not apply.

        Args:
            prompts: ``N`` prompt texts.
            responses: ``N`` response texts.
            references: ``N`` references; ``None`` where the data has none.
            **columns: Every other column of the data, ``N`` entries each.
        """

    def asks(self) -> frozenset[ResponseFact]:
        """Return what the reward wants to know of responses beside their texts; it comes among the columns."""
        return frozenset()

    def measures(self) -> bool:
        """Return whether evaluation may call a response correct by this reward; a mere penalty says no."""
        return True

    def reads_answers(self) -> bool:
        """Return whether the reward reads an answer in a response, see :meth:`read_answer`."""
        return False

    def read_answer(self, response: str, columns: Mapping[str, Any]) -> str | None:
        """Return the answer of a response, or ``None`` if it has none: for majority votes and figures of diversity.

        Answers that are the same must be the same text, such as ``"1/2"`` for 0.5. Every response is read once more
        than it is scored, so reading should be cheap, and needs no :meth:`setup`.

        Args:
            response: The response's text.
            columns: Its row of the data, by column.
        """
        return None

    def read_ahead(self, references: Sequence[Any]) -> None:
        """Read references before :meth:`check_row` asks for each row: several at once, where reading one is slow.

        Args:
            references: Those of all rows; an unfit one raises no error here.
        """

    def check_row(self, reference: Any, columns: Mapping[str, Any]) -> None:
        """Refuse a row of the data whose responses could not be scored; a run asks for every row before it starts.

        Args:
            reference: The row's reference.
            columns: The whole row.

        Raises:
            ValueError: If it is unfit.
        """

    def check_tokens(self, special_tokens: Collection[str]) -> None:
        """Check the reward against a tokenizer; a run asks before it starts.

        Args:
            special_tokens: Tokens that are taken out of the responses, unless the reward keeps them.

        Raises:
            ValueError: If no response could ever score.
        """
