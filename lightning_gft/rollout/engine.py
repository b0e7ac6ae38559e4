"""What a rollout engine is: token ids in, responses out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from transformers import PreTrainedModel

from lightning_gft.distributed.sharding import Sharding
from lightning_gft.lm.decoding.stopping import EndTokens
from lightning_gft.parts import Part
from lightning_gft.sampling import SamplingParams
from lightning_gft.types import Response, ResponseGenerator


class EnginePolicy(ResponseGenerator, Protocol):
    """What an engine may need of the policy that it draws from: its model, and its weights in files."""

    model: PreTrainedModel
    sharding: Sharding

    @property
    def adapters(self) -> Any:
        """The low-rank adapters in the model; ``None`` where the model itself trains."""

    @property
    def is_quantised(self) -> bool:
        """Whether some of the model's weights are packed into few bits."""

    def save_pretrained(self, path: str | Path, torch_dtype: str | None = None) -> None:
        """Write model and tokenizer, or the adapters alone where there are some."""

    def save_plain(self, path: str | Path, torch_dtype: str | None = None, with_adapters: bool = True) -> None:
        """Write a plain model and the tokenizer, with the adapters merged into it or left out."""


class RolloutEngine(Part, ABC):
    """Draws responses from a language model."""

    def attach(self, policy: EnginePolicy) -> None:
        """Learn which policy this engine draws from; called once, when the policy is made."""

    def weights_changed(self) -> None:
        """Learn that the policy's weights have changed: by an optimizer step, a checkpoint or an average.

        Also called before a draw from a reference, and before the next one from the policy, if both are this engine's;
        scoring within a reference is none of its business. A checkpoint is loaded before :meth:`setup`.
        """

    def prepare(self, policy: EnginePolicy) -> None:
        """Make the policy's weights as they are now those that are drawn from, if the engine has some of its own.

        All ranks call it together, with whole weights, after a change and before any of them draws.
        """

    def can_draw_ahead(self) -> bool:
        """Return whether :meth:`generate_ahead` draws: from weights that :meth:`prepare` has taken over; here not."""
        return False

    def generate_ahead(
        self,
        prompt_ids: Sequence[Sequence[int]],
        num_generations: int,
        sampling: SamplingParams,
        seeds: Sequence[int],
        end: EndTokens,
    ) -> list[list[Response]]:
        """Draw as :meth:`generate` does, in another thread while the policy trains, so without looking at its model.

        No other method but :meth:`weights_changed` and :meth:`close` is called meanwhile. Where it waits for long, it
        calls :func:`lightning_gft.waiting.check_wait`, which raises when its responses are not needed any more.
        """
        raise NotImplementedError

    def for_references(self) -> RolloutEngine:
        """Return the engine that draws from a reference of the policy."""
        return self

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
