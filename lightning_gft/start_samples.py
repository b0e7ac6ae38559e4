"""Samples of the policy that a run began with, by which an evaluation tells what was forgotten."""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple
from weakref import ref

from torch import Tensor

from lightning_gft.functional.logprobs import k3_divergence, log_ratio
from lightning_gft.policy import Policy
from lightning_gft.sampling import SamplingParams
from lightning_gft.seeds import combine_seeds
from lightning_gft.types import PromptBatch, Sequences, pad_sequences


class _Drawn(NamedTuple):
    """Sequences of the starting policy, and their log-probabilities under it, ``[N, T]``."""

    sequences: Sequences
    logprobs: Tensor


class StartSamples:
    """One sample a prompt of the policy as it was loaded, drawn and scored once and kept on the CPU.

    A run that is resumed draws the same again, as they follow from the evaluation's seed and the starting weights.
    Those of batches that an evaluation does not see are forgotten at its end.

    Args:
        sampling: How they are drawn.
    """

    def __init__(self, sampling: SamplingParams) -> None:
        self.sampling = sampling
        self._policy: ref[Policy] | None = None
        self._kept: dict[Hashable, _Drawn] = {}
        self._used: dict[Hashable, _Drawn] = {}

    def begin(self, policy: Policy) -> None:
        """Begin an evaluation of a policy; the samples of another are forgotten."""
        if self._policy is None or self._policy() is not policy:
            self._policy, self._kept = ref(policy), {}
        self._used = {}

    def end(self) -> None:
        """End an evaluation that has seen all batches."""
        self._kept = self._used

    def divergence(self, prompts: PromptBatch, policy: Policy, seed: int, max_tokens: int) -> Tensor:
        """Return estimates of ``KL(start || policy)`` for each token of the samples, ``[M]``: Schulman's k3.

        Args:
            prompts: A batch of them.
            policy: Must be kept as it was loaded.
            seed: The seed of this batch.
            max_tokens: Tokens to run at once.

        Raises:
            RuntimeError: If the policy keeps nothing of its start.
        """
        key = (seed, *map(tuple, prompts.prompt_ids))
        drawn = self._kept.get(key) or self._draw(prompts, policy, seed, max_tokens)
        self._used[key] = drawn
        sequences = drawn.sequences.to(policy.device)
        now, _ = policy.token_logprobs(sequences, max_tokens)
        return k3_divergence(log_ratio(drawn.logprobs.to(now), now)[sequences.response_mask])

    def _draw(self, prompts: PromptBatch, policy: Policy, seed: int, max_tokens: int) -> _Drawn:
        with policy.as_loaded():
            drawn = policy.generate(prompts.prompt_ids, 1, self.sampling, combine_seeds(seed, 1), places=prompts.places)
            responses = [response.token_ids for [response] in drawn]
            sequences = pad_sequences(prompts.prompt_ids, responses, policy.pad_token_id, policy.device)
            logprobs, _ = policy.token_logprobs(sequences, max_tokens)
        return _Drawn(sequences.to("cpu"), logprobs.cpu())
