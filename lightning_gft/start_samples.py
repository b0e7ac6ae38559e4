"""Samples of the starting policy, by which an evaluation measures forgetting."""

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
    """Sequences of the starting policy, with their log-probabilities under it, ``[N, T]``."""

    sequences: Sequences
    logprobs: Tensor


class StartSamples:
    """One sample per prompt of the policy as it was loaded; sampled and scored once, and kept on the CPU.

    A resumed run draws the same samples again, as the evaluation's seed and the starting weights determine them.
    Samples of batches that an evaluation does not use are discarded at its end.

    Args:
        sampling: Sampling parameters.
    """

    def __init__(self, sampling: SamplingParams) -> None:
        self.sampling = sampling
        self._policy: ref[Policy] | None = None
        self._kept: dict[Hashable, _Drawn] = {}
        self._used: dict[Hashable, _Drawn] = {}

    def begin(self, policy: Policy) -> None:
        """Begin an evaluation of a policy; samples of any other policy are discarded."""
        if self._policy is None or self._policy() is not policy:
            self._policy, self._kept = ref(policy), {}
        self._used = {}

    def end(self) -> None:
        """End an evaluation that has processed all batches."""
        self._kept = self._used

    def divergence(self, prompts: PromptBatch, policy: Policy, seed: int, max_tokens: int) -> Tensor:
        """Return estimates of ``KL(base‖policy)`` for each token of the samples, ``[M]``, by Schulman's k3.

        Args:
            prompts: A batch of prompts.
            policy: The policy to evaluate; must keep its loaded weights.
            seed: The seed of this batch.
            max_tokens: Most tokens of one forward pass.

        Raises:
            RuntimeError: If the policy does not keep its loaded weights.
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
