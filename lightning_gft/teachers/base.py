"""The base class of teachers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from lightning_gft.checks import check_count
from lightning_gft.data import Example
from lightning_gft.parts import Part
from lightning_gft.types import PromptBatch, Response, ResponseGenerator, pad_sequences


class Teacher(Part, ABC):
    """Supplies log-probabilities of the policy's own responses, as targets for the policy's log-probabilities.

    Args:
        micro_batch_tokens: Most tokens of one forward pass of the teacher.

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
        """Return the log-probabilities of each response's tokens at temperature 1 over the whole vocabulary.

        A prompt whose responses the teacher cannot judge has ``None`` in place of a list.

        Args:
            prompts: ``P`` prompts, with their demonstrations from the data.
            responses: Own samples to each of the ``P`` prompts.
            policy: The policy that has drawn them.
            seed: Determines every random choice.
        """

    def reads(self) -> frozenset[str]:
        """Return the roles of the demonstrations that the teacher reads; by default none."""
        return frozenset()

    def check_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Raise an error if the teacher does not fit a policy's tokenizer; called before anything is loaded.

        Args:
            tokenizer: The policy's tokenizer.

        Raises:
            ValueError: If the teacher does not fit.
        """

    def check_prompts(self, rows: Sequence[Example], tokenizer: PreTrainedTokenizerBase, max_new_tokens: int) -> None:
        """Raise an error for training data whose own responses the teacher could not judge; called before training.

        Args:
            rows: All tokenised rows, one or more.
            tokenizer: The policy's tokenizer.
            max_new_tokens: Longest own response, in tokens.

        Raises:
            ValueError: If a row does not fit, with the reason and a remedy.
        """

    def score(
        self, policy: ResponseGenerator, prompt_ids: Sequence[Sequence[int]], responses: Sequence[Sequence[Response]]
    ) -> list[list[list[float]]]:
        """Return the log-probabilities of responses after prompts, by a forward pass of a policy without gradients.

        Args:
            policy: The policy that scores them.
            prompt_ids: Token ids of ``P`` prompts.
            responses: Responses to each of the ``P`` prompts.
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
