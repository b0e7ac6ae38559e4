"""What a response source is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from lightning_gft.checks import check_count
from lightning_gft.data import Example
from lightning_gft.parts import Part
from lightning_gft.types import PromptBatch, Response, ResponseGenerator, Source


class ResponseSource(Part, ABC):
    """Gives responses to prompts.

    Args:
        num_responses: Most responses a prompt.

    Attributes:
        source: What its responses count as.

    Raises:
        ValueError: If ``num_responses`` is below 1.
        TypeError: If it is not a whole number.
    """

    source: ClassVar[Source]

    def __init__(self, num_responses: int) -> None:
        self.num_responses = check_count("num_responses", num_responses, of=type(self).__name__)

    @abstractmethod
    def respond(self, prompts: PromptBatch, policy: ResponseGenerator, seed: int) -> list[list[Response]]:
        """Return for each of ``P`` prompts at most ``num_responses`` responses.

        Args:
            prompts: The prompts, with the demonstrations that the data holds for them.
            policy: Draws responses, decodes and encodes.
            seed: Every random choice follows from it.
        """

    def draws(self) -> bool:
        """Return whether the policy may be asked to generate; weights that are sharded are gathered before."""
        return True

    def longest_response(self) -> int:
        """Return the most tokens of a response that the model's window must have room for; 0 for those of the data."""
        return 0

    def check_rows(self, rows: Sequence[Example]) -> None:
        """Refuse training data that the source cannot answer; a run asks before it trains.

        Args:
            rows: All rows, tokenised; at least one.

        Raises:
            ValueError: With what is missing, and what to do.
        """
