"""The interface of a rollout engine: token ids in, responses out."""

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
    """The parts of a policy that an engine uses: the model, and its weights in files."""

    model: PreTrainedModel
    sharding: Sharding

    @property
    def adapters(self) -> Any:
        """The low-rank adapters in the model; ``None`` if the model itself trains."""

    @property
    def is_quantised(self) -> bool:
        """Whether some of the model's weights are packed into few bits."""

    def save_pretrained(self, path: str | Path, torch_dtype: str | None = None) -> None:
        """Write the model and the tokenizer, or only the adapters if there are any."""

    def save_plain(self, path: str | Path, torch_dtype: str | None = None, with_adapters: bool = True) -> None:
        """Write a plain model and the tokenizer, with the adapters merged into the model or left out."""


def seeds_of_prompts(
    seeds: Sequence[int], num_prompts: int, num_generations: int, with_greedy: bool
) -> list[list[int | None]]:
    """Return the seeds of each prompt's responses; ``None`` is that of the greedy response, which comes first.

    Example:
        >>> seeds_of_prompts([1, 2, 3, 4], num_prompts=2, num_generations=2, with_greedy=True)
        [[None, 1, 2], [None, 3, 4]]
    """
    greedy: list[int | None] = [None] if with_greedy else []
    return [[*greedy, *seeds[i * num_generations : (i + 1) * num_generations]] for i in range(num_prompts)]


class RolloutEngine(Part, ABC):
    """Samples responses from a language model."""

    def attach(self, policy: EnginePolicy) -> None:
        """Receive the policy that this engine draws from; called once, when the policy is made."""

    def weights_changed(self) -> None:
        """Receive notice that the policy's weights have changed: by an optimizer step, a checkpoint or an average.

        If this engine also draws from references, it is called before a draw from a reference and before the policy's
        next draw; scoring does not call it. A checkpoint is loaded before :meth:`setup`.
        """

    def prepare(self, policy: EnginePolicy) -> None:
        """Take over the policy's current weights, if the engine draws from weights of its own.

        All ranks call it together, with whole weights, after a change or :meth:`rest` and before any of them draws.
        """

    def can_draw_ahead(self) -> bool:
        """Return whether the engine has :meth:`generate_ahead`, with weights that :meth:`prepare` took over."""
        return False

    def generate_ahead(
        self,
        prompt_ids: Sequence[Sequence[int]],
        num_generations: int,
        sampling: SamplingParams,
        seeds: Sequence[int],
        end: EndTokens,
    ) -> list[list[Response]]:
        """Draw as :meth:`generate` does, in another thread and without the model, which trains at the same time.

        Meanwhile the run calls :meth:`weights_changed`, :meth:`compute`, :meth:`reset`, and :meth:`prepare` only if no
        weights have changed. A long wait has to call :func:`lightning_gft.waiting.check_wait` about once a second; it
        raises when the responses are no longer needed.
        """
        raise NotImplementedError

    def check_drawn_ahead(self, model: PreTrainedModel) -> None:
        """Check the last draw of :meth:`generate_ahead`, which has ended, if the model still has its weights.

        Args:
            model: The policy's model, with whole weights.

        Raises:
            RuntimeError: If the engine has drawn from other weights.
        """

    def rest(self) -> None:
        """Receive notice that no rank draws until the next :meth:`prepare`, and that the policy trains.

        All ranks call it together. An engine on the policy's device gives its memory back.
        """

    def for_references(self) -> RolloutEngine:
        """Return the engine that draws from references of the policy."""
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

        A request to stop ends the draw where it calls :func:`lightning_gft.waiting.check_stop`, or
        :func:`~lightning_gft.waiting.check_wait` while it waits. A draw runs no collective, since another rank may have
        ended its own. :func:`lightning_gft.phases.draw_counts` shows its progress.

        Args:
            model: A causal language model with the weights to draw from, which may be those of a reference.
            prompt_ids: Token ids of ``P`` prompts.
            num_generations: Number of sampled responses per prompt.
            sampling: Temperature, filters and length limits.
            seeds: ``P * num_generations`` seeds, prompt by prompt. A response depends on its own seed, but not on the
                rest of the batch.
            end: Tokens and texts that end a response.
            with_greedy: Whether to prepend the greedy response, which has no seed, to each prompt's responses.

        Returns:
            The responses to each prompt, with the tokens that ended them. Their log-probabilities are those of the
            model itself, before temperature, masked ends and everything else in ``sampling``.
        """
