"""What a response source is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from lightning_gft.checks import check_count
from lightning_gft.data import Example
from lightning_gft.parts import Part
from lightning_gft.rewards import Reward
from lightning_gft.types import Candidate, Need, PromptBatch, Response, ResponseGenerator, Source


class ResponseSource(Part, ABC):
    """Gives responses to prompts.

    Args:
        num_responses: Most responses a prompt that a group keeps.

    Attributes:
        source: What its responses count as.

    Raises:
        ValueError: If ``num_responses`` is below 1.
        TypeError: If it is not a whole number.
    """

    source: Source

    def __init__(self, num_responses: int) -> None:
        self.num_responses = check_count("num_responses", num_responses, of=type(self).__name__)

    @abstractmethod
    def respond(self, prompts: PromptBatch, policy: ResponseGenerator, seed: int) -> list[list[Response]]:
        """Return for each of ``P`` prompts at most :meth:`most_given` responses.

        Args:
            prompts: The prompts, with the demonstrations that the data holds for them.
            policy: Draws responses, decodes and encodes.
            seed: Every random choice follows from it.
        """

    def most_given(self) -> int:
        """Return how many responses a prompt gets at most from :meth:`respond`, of which :meth:`choose` keeps some."""
        return self.num_responses

    def choose(self, candidates: Sequence[Candidate], seed: int) -> Sequence[int]:
        """Return the indices of at most ``num_responses`` responses to keep; here all.

        Those left out have no part in the group: no advantage is compared with theirs, and nothing is trained on them.

        Args:
            candidates: Scored responses to one prompt, as :meth:`respond` gave them.
            seed: Every random choice follows from it.
        """
        return range(len(candidates))

    def prepare(self, prompts: PromptBatch, policy: ResponseGenerator, seed: int) -> None:
        """Begin slow work, such as requests, for prompts of this step or a later one; a hint.

        Errors of this work are raised by :meth:`respond`, which needs its result.

        Args:
            prompts: Prompts that :meth:`respond` will receive, perhaps with others.
            policy: The policy that :meth:`respond` will receive, perhaps with later weights.
            seed: The seed that :meth:`respond` will receive.
        """

    def looks_ahead(self) -> int:
        """Return for how many later batches a run should call :meth:`prepare` before it samples the current one.

        A batch may be announced several times, and an announced batch may never be sampled.
        """
        return 0

    def draws_ahead(self) -> bool:
        """Return whether the policy may generate while it trains, which its engine must support."""
        return False

    def draws(self) -> bool:
        """Return whether the policy may generate; sharded weights are gathered before."""
        return True

    def memory(self) -> Mapping[str, Any]:
        """Return the plain values that a checkpoint keeps so that a resumed run returns the same responses.

        It is called on all ranks together, for sources that :meth:`draws_ahead`.
        """
        return {}

    def recall(self, memories: Sequence[Mapping[str, Any]]) -> None:
        """Restore what :meth:`memory` returned on each rank of the earlier run."""

    def gives(self) -> frozenset[Need]:
        """Return what its responses carry beside their tokens: ``{"teacher_logprobs"}`` or nothing, as here."""
        return frozenset()

    def reads(self) -> frozenset[str]:
        """Return the roles of the demonstrations that it reads; by default what its responses count as."""
        return frozenset({self.source.name.lower()})

    def longest_response(self) -> int:
        """Return the most tokens of a response that the model's window must have room for; 0 for those of the data."""
        return 0

    def check_rewards(self, rewards: Mapping[str, Reward]) -> None:
        """Refuse rewards that the source cannot choose by; a sampler asks when it is made.

        Args:
            rewards: The sampler's, by name.

        Raises:
            ValueError: If there is a reason to.
        """

    def check_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Refuse a policy by its tokenizer; a run asks before it sets the source up.

        Args:
            tokenizer: The policy's.

        Raises:
            ValueError: If there is a reason to.
        """

    def check_prompts(self, rows: Sequence[Example], tokenizer: PreTrainedTokenizerBase) -> None:
        """Refuse training data whose prompts the source cannot use as they are; a run asks before it trains.

        Args:
            rows: All rows, tokenised; at least one.
            tokenizer: The policy's.

        Raises:
            ValueError: With what is wrong, and what to do.
        """

    def check_rows(self, rows: Sequence[Example]) -> None:
        """Refuse training data that the source cannot answer; a run asks before it trains.

        Args:
            rows: All rows, tokenised; at least one.

        Raises:
            ValueError: With what is missing, and what to do.
        """
