"""What a rollout engine is: token ids in, responses out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from transformers import PreTrainedModel

from lightning_gft.lm.decoding.stopping import EndTokens
from lightning_gft.parts import Part
from lightning_gft.sampling import SamplingParams
from lightning_gft.types import Response, ResponseGenerator


class RolloutEngine(Part, ABC):
    """Draws responses from a language model."""

    def attach(self, policy: ResponseGenerator) -> None:
        """Learn which policy this engine draws from; called once, when the policy is made."""

    def weights_changed(self) -> None:
        """Learn that the policy's weights have changed: by an optimizer step, a checkpoint or an average.

        Also called before a draw from a reference, and before the next one from the policy; scoring within a reference
        is none of an engine's business. A checkpoint is loaded before :meth:`setup`.
        """

    @abstractmethod
    def generate(
        self,
        model: PreTrainedModel,
        prompt_ids: Sequence[Sequence[int]],
        num_generations: int,
        sampling: SamplingParams,
        seeds: Sequence[int],
        end: EndTokens,
        with_greedy: bool = False,
    ) -> list[list[Response]]:
        """Draw ``num_generations`` responses to each of ``P`` prompts.

        Args:
            model: A causal language model with the weights to draw from, those of a reference within its context.
            prompt_ids: ``P`` prompts.
            num_generations: Responses a prompt.
            sampling: How to draw.
            seeds: One a drawn response, ``P * num_generations`` of them, prompt by prompt. A response depends on its
                own seed alone, not on what else is in the batch.
            end: Tokens and texts that end a response.
            with_greedy: Whether each prompt's responses begin with one more, the greedy one, which has no seed.

        Returns:
            For each prompt its responses, with the tokens that ended them, and their log-probabilities: those of the
            model itself, before temperature, masked ends and everything else in ``sampling``.
        """
