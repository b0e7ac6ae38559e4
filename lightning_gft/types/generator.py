"""The interface of a policy that sources use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from lightning_gft.sampling import SamplingParams
from lightning_gft.types.prompts import Response
from lightning_gft.types.sequences import Sequences

if TYPE_CHECKING:  # slow to import, and only tensors are needed
    from transformers import PreTrainedTokenizerBase


class PendingResponses(Protocol):
    """Responses that another thread draws."""

    def settle(self) -> None:
        """Wait until the draw has returned or failed."""

    def responses(self) -> list[list[Response]]:
        """Wait for the responses and return them, or raise the error of the draw."""

    def failed(self) -> bool:
        """Return whether a draw that has ended has failed."""

    def give_up(self) -> None:
        """End the draw and its thread."""


class ResponseGenerator(Protocol):
    """A policy as sources use it: its responses, log-probabilities of given responses, its texts, and its device."""

    @property
    def device(self) -> torch.device:
        """Device that batches for the policy belong on."""

    @property
    def pad_token_id(self) -> int:
        """Id of the token that pads rows."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The policy's tokenizer."""

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Return the text of a response with or without special tokens, but never with those that end it."""

    def encode(self, response: str) -> list[int]:
        """Return the token ids of a whole response, with the token that ends responses in this policy's data."""

    def token_logprobs(self, sequences: Sequences, max_tokens: int) -> tuple[Tensor, Tensor]:
        """Return log-probabilities and entropies of given responses, both ``[N, T]``, without gradient."""

    def generate(
        self,
        prompt_ids: Sequence[Sequence[int]],
        num_generations: int,
        sampling: SamplingParams,
        seed: int,
        places: Sequence[int] | None = None,
        with_greedy: bool = False,
    ) -> list[list[Response]]:
        """Draw ``num_generations`` responses to each of ``P`` prompts; the same seed draws the same responses.

        With ``with_greedy``, each prompt's responses begin with the greedy one, which is drawn in addition.
        """

    def generate_ahead(
        self,
        prompt_ids: Sequence[Sequence[int]],
        num_generations: int,
        sampling: SamplingParams,
        seed: int,
        places: Sequence[int] | None = None,
    ) -> PendingResponses:
        """Begin to draw as :meth:`generate` does, from the current weights, while the policy trains."""
