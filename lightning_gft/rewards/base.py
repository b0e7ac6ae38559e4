"""The base class of rewards."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from torch import Tensor

from lightning_gft.checks import check_number
from lightning_gft.parts import Part

ResponseFact = Literal["response_tokens", "response_source", "response_limit"]
"""Facts that a reward may ask for: tokens of a response, including its end; its source, such as ``"self"``; and the
length limit of sampled responses, in tokens."""


class Reward(Part, ABC):
    """Scores all responses of a batch in one call.

    A subclass raises an error if it has no score, for example without a reference: a 0 would teach the policy that the
    response is wrong. :class:`~lightning_gft.parts.Part` documents how a reward reports counts and starts resources.

    Args:
        weight: Weight of the score in the total; negative for a penalty, 0 to log the score only.
        special_tokens: Whether responses are decoded with their special tokens, such as ``<think>`` in some
            tokenizers; those that end a response are always removed.

    Raises:
        ValueError: If the weight is infinite or NaN.
        TypeError: If the weight is not a number.

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
        """Return ``N`` scores without the weight, in the order of the responses; ``None`` if the reward does not apply.

        It runs no collective, since another rank may have abandoned the step.

        Args:
            prompts: ``N`` prompt texts.
            responses: ``N`` response texts.
            references: ``N`` references; ``None`` for rows without one.
            **columns: All other columns of the data, each with ``N`` entries.
        """

    def needs(self) -> frozenset[ResponseFact]:
        """Return the facts about responses that the reward gets among the columns, in addition to the texts."""
        return frozenset()

    def measures(self) -> bool:
        """Return whether evaluation may use this reward to decide on correctness; false for a mere penalty."""
        return True

    def reads_answers(self) -> bool:
        """Return whether the reward reads an answer in a response, see :meth:`read_answer`."""
        return False

    def read_answer(self, response: str, columns: Mapping[str, Any]) -> str | None:
        """Return the answer of a response, or ``None`` if it has none; for majority votes and figures of diversity.

        Equal answers must be equal texts, such as ``"1/2"`` for 0.5. Every response is read again after it is scored,
        so reading should be cheap, and must not require :meth:`setup`.

        Args:
            response: Text of the response.
            columns: Row of the data, by column.
        """
        return None

    def read_ahead(self, references: Sequence[Any]) -> None:
        """Read references together before :meth:`check_row` reads them row by row, for rewards that read slowly.

        Args:
            references: References of all rows; an unfit one raises no error here.
        """

    def check_row(self, reference: Any, columns: Mapping[str, Any]) -> None:
        """Raise an error for a row whose responses could not be scored; called for every row before a run starts.

        Args:
            reference: Reference of the row.
            columns: The whole row, by column.

        Raises:
            ValueError: If the row is unfit.
        """

    def check_tokens(self, special_tokens: Collection[str]) -> None:
        """Check the reward against a tokenizer; called before a run starts.

        Args:
            special_tokens: Special tokens that are removed from responses, unless the reward keeps them.

        Raises:
            ValueError: If no response could ever score.
        """
