"""The base class of response sources."""

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
    """A source of responses to prompts.

    A subclass sets ``source`` and implements :meth:`respond`; the other methods have defaults.

    Args:
        num_responses: Largest number of responses per prompt that a group keeps.

    Attributes:
        source: The :class:`~lightning_gft.Source` that its responses count as.

    Raises:
        ValueError: If ``num_responses`` is below 1.
        TypeError: If it is not a whole number.
    """

    source: Source

    def __init__(self, num_responses: int) -> None:
        self.num_responses = check_count("num_responses", num_responses, of=type(self).__name__)

    @abstractmethod
    def respond(self, prompts: PromptBatch, policy: ResponseGenerator, seed: int) -> list[list[Response]]:
        """Return a list of at most :meth:`most_given` responses for each of ``P`` prompts.

        It runs no collective, since another rank may have abandoned the step. A long wait has to call
        :func:`lightning_gft.waiting.check_wait` about once a second.

        Args:
            prompts: ``P`` prompts, with their demonstrations from the data.
            policy: The policy, which generates, decodes and encodes responses.
            seed: Seed of all random choices.
        """

    def most_given(self) -> int:
        """Return the largest number of responses per prompt from :meth:`respond`, before :meth:`choose`."""
        return self.num_responses

    def choose(self, candidates: Sequence[Candidate], seed: int) -> Sequence[int]:
        """Return the indices of at most ``num_responses`` responses to keep; by default all.

        The other responses do not belong to the group: advantages do not compare with them, and losses do not train on
        them.

        Args:
            candidates: Scored responses to one prompt, in the order of :meth:`respond`.
            seed: Seed of all random choices.
        """
        return range(len(candidates))

    def prepare(self, prompts: PromptBatch, policy: ResponseGenerator, seed: int) -> None:
        """Start slow work, such as requests, for prompts of this step or a later one; by default does nothing.

        The call is a hint. An error in this work is raised by :meth:`respond`, which needs the result.

        Args:
            prompts: Prompts that :meth:`respond` will receive, possibly along with others.
            policy: The policy, whose weights may have changed when :meth:`respond` is called.
            seed: Seed that :meth:`respond` will receive.
        """

    def looks_ahead(self) -> int:
        """Return the number of later batches that a run passes to :meth:`prepare` before it samples the current one.

        A batch may be passed several times, and :meth:`respond` is not certain to be called for it.
        """
        return 0

    def draws_ahead(self) -> bool:
        """Return whether the source may sample from the policy while it trains, which requires a suitable engine."""
        return False

    def draws(self) -> bool:
        """Return whether the source may sample from the policy, for which sharded weights are gathered before."""
        return True

    def memory(self) -> Mapping[str, Any]:
        """Return the state from which a resumed run gets the same responses, in plain values for a checkpoint.

        It is called for sources that :meth:`draws_ahead`, on all ranks.
        """
        return {}

    def recall(self, memories: Sequence[Mapping[str, Any]]) -> None:
        """Restore the states that :meth:`memory` returned on each rank of the earlier run."""

    def gives(self) -> frozenset[Need]:
        """Return the further fields that its responses carry, such as ``"teacher_logprobs"``; by default none."""
        return frozenset()

    def reads(self) -> frozenset[str]:
        """Return the roles of the demonstrations that it reads; by default the role that its responses count as."""
        return frozenset({self.source.name.lower()})

    def longest_response(self) -> int:
        """Return the length limit of sampled responses, which must fit into the model's window; 0 for the data's."""
        return 0

    def check_rewards(self, rewards: Mapping[str, Reward]) -> None:
        """Reject rewards that the source cannot choose by; a sampler calls it in its constructor.

        Args:
            rewards: Rewards of the sampler, by name.

        Raises:
            ValueError: If the source cannot work with these rewards.
        """

    def check_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Reject an unsuitable tokenizer; a run calls it before :meth:`setup`.

        Args:
            tokenizer: Tokenizer of the policy.

        Raises:
            ValueError: If the source cannot work with this tokenizer.
        """

    def check_prompts(self, rows: Sequence[Example], tokenizer: PreTrainedTokenizerBase) -> None:
        """Reject training data whose prompts the source cannot use; a run calls it before training.

        Args:
            rows: All rows, tokenised; at least one.
            tokenizer: Tokenizer of the policy.

        Raises:
            ValueError: If a prompt cannot be used; the message names the row and the remedy.
        """

    def check_rows(self, rows: Sequence[Example]) -> None:
        """Reject training data that lack what the source reads; a run calls it before training.

        Args:
            rows: All rows, tokenised; at least one.

        Raises:
            ValueError: If a column is missing; the message names it and the remedy.
        """
