"""What a teacher is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from lightning_gft.checks import check_count
from lightning_gft.data import Example
from lightning_gft.parts import Part
from lightning_gft.types import PromptBatch, Response, ResponseGenerator, pad_sequences


class Teacher(Part, ABC):
    """Gives log-probabilities of the policy's own responses, which a loss brings the policy's own towards.

    Args:
        micro_batch_tokens: Most tokens that go through the teacher at once.

    Raises:
        ValueError: If ``micro_batch_tokens`` is below 1.
        TypeError: If it is not a whole number.
    """

    def __init__(self, micro_batch_tokens: int = 16384) -> None:
        self.micro_batch_tokens = check_count("micro_batch_tokens", micro_batch_tokens, of=type(self).__name__)

    @abstractmethod
    def logprobs(
        self, prompts: PromptBatch, responses: Sequence[Sequence[Response]], policy: ResponseGenerator, seed: int
    ) -> list[list[list[float]] | None]:
        """Return log-probabilities of each response's tokens at temperature 1 and over the whole vocabulary.

        A prompt whose responses it cannot judge has ``None`` in place of a list.

        Args:
            prompts: ``P`` prompts, with the demonstrations that the data holds for them.
            responses: Own samples to each of them.
            policy: Has drawn them.
            seed: Every random choice follows from it.
        """

    def reads(self) -> frozenset[str]:
        """Return the roles of the demonstrations that it reads; none here."""
        return frozenset()

    def check_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Refuse a policy by its tokenizer; a run asks before anything is loaded.

        Args:
            tokenizer: The policy's.

        Raises:
            ValueError: If there is a reason to.
        """

    def check_prompts(self, rows: Sequence[Example], tokenizer: PreTrainedTokenizerBase, max_new_tokens: int) -> None:
        """Refuse training data whose own responses it could not judge; a run asks before it trains.

        Args:
            rows: All rows, tokenised; at least one.
            tokenizer: The policy's.
            max_new_tokens: Longest own response, in tokens.

        Raises:
            ValueError: With what is wrong, and what to do.
        """

    def score(
        self, policy: ResponseGenerator, prompt_ids: Sequence[Sequence[int]], responses: Sequence[Sequence[Response]]
    ) -> list[list[list[float]]]:
        """Return log-probabilities of responses as a policy gives them after prompts, by one pass without gradient.

        Args:
            policy: Scores.
            prompt_ids: ``P`` prompts as token ids.
            responses: Responses to each of them.
        """
        sequences = pad_sequences(
            [ids for ids, given in zip(prompt_ids, responses, strict=True) for _ in given],
            [response.token_ids for given in responses for response in given],
            policy.pad_token_id,
            policy.device,
        )
        logprobs, _ = policy.token_logprobs(sequences, self.micro_batch_tokens)
        of_row = (row[mask].tolist() for row, mask in zip(logprobs.cpu(), sequences.response_mask.cpu(), strict=True))
        return [[next(of_row) for _ in given] for given in responses]
