"""What a response source is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from lightning_gft.checks import check_count
from lightning_gft.types import PromptBatch, Response, ResponseGenerator, Source


class ResponseSource(ABC):
    """Gives responses to prompts.

    Args:
        num_responses: Most responses a prompt.

    Attributes:
        source: What its responses count as.
        draws: Whether it may ask the policy for responses. Where weights are split over processes they are gathered
            before, for as often as it asks.

    Raises:
        ValueError: If ``num_responses`` is below 1.
        TypeError: If it is not a whole number.
    """

    source: ClassVar[Source]
    draws: ClassVar[bool] = True

    def __init__(self, num_responses: int) -> None:
        self.num_responses = check_count("num_responses", num_responses, of=type(self).__name__)

    @abstractmethod
    def respond(self, prompts: PromptBatch, policy: ResponseGenerator, seed: int) -> list[list[Response]]:
        """Return for each of ``P`` prompts at most ``num_responses`` responses.

        Args:
            prompts: The prompts, with the demonstrations that the data holds for them.
            policy: The policy.
            seed: Every random choice follows from it.
        """
