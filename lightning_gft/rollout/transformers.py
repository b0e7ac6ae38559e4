"""Rollouts with the training model itself, through transformers' key-value cache."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from typing_extensions import override

from lightning_gft.functional import token_logprobs
from lightning_gft.rollout.engine import EndTokens, RolloutEngine
from lightning_gft.rollout.sampling import draw, logits_warpers, uniform_noise
from lightning_gft.types import Response, SamplingParams


class TransformersEngine(RolloutEngine):
    """Generates with the model in place: nothing is copied, the weights are always the current ones.

    A prompt is prefilled once for all of its responses, prompts of similar length share a batch, and responses that
    have ended leave it.

    Args:
        max_batch_size: Most responses in flight at once; bounds the memory of the key-value cache.

    Raises:
        ValueError: If ``max_batch_size`` is below 1.

    Example:
        >>> TransformersEngine(max_batch_size=256).max_batch_size
        256
    """

    def __init__(self, max_batch_size: int = 1024) -> None:
        if max_batch_size < 1:
            raise ValueError(f"max_batch_size={max_batch_size} must be at least 1")
        self.max_batch_size = max_batch_size

    @override
    @torch.no_grad()
    def generate(
        self,
        model: PreTrainedModel,
        prompt_ids: Sequence[Sequence[int]],
        num_generations: int,
        sampling: SamplingParams,
        seeds: Sequence[int],
        end: EndTokens,
    ) -> list[list[Response]]:
        responses: list[list[Response]] = [[] for _ in prompt_ids]
        by_length = sorted(range(len(prompt_ids)), key=lambda i: len(prompt_ids[i]))
        numbers = range(num_generations)
        responses_a_prompt = min(num_generations, self.max_batch_size)
        prompts_a_batch = self.max_batch_size // responses_a_prompt
        for start, first in product(
            range(0, len(by_length), prompts_a_batch), range(0, num_generations, responses_a_prompt)
        ):
            chosen = by_length[start : start + prompts_a_batch]
            generations = numbers[first : first + responses_a_prompt]
            chosen_seeds = [seeds[i * num_generations + k] for i in chosen for k in generations]
            decoder = _Decoder(model, [prompt_ids[i] for i in chosen], len(generations), end)
            drawn = decoder.run(sampling, uniform_noise(chosen_seeds, sampling.max_new_tokens))
            for position, i in enumerate(chosen):
                responses[i] += drawn[position * len(generations) : (position + 1) * len(generations)]
        return responses


class _Decoder:
    """One batch of prompts on its way through the model."""

    def __init__(
        self, model: PreTrainedModel, prompt_ids: Sequence[Sequence[int]], num_generations: int, end: EndTokens
    ) -> None:
        self.model = model
        self.end = end
        self.eos = torch.tensor(end.eos_token_ids, device=model.device)
        self.cache = DynamicCache(config=model.config)
        width = max(map(len, prompt_ids))
        padded = [[end.pad_token_id] * (width - len(ids)) + list(ids) for ids in prompt_ids]
        mask = [[0] * (width - len(ids)) + [1] * len(ids) for ids in prompt_ids]
        self.mask = torch.tensor(mask, device=model.device)
        self.logits = self._forward(torch.tensor(padded, device=model.device))
        if num_generations > 1:
            self.cache.batch_repeat_interleave(num_generations)
            self.mask = self.mask.repeat_interleave(num_generations, dim=0)
            self.logits = self.logits.repeat_interleave(num_generations, dim=0)

    def run(self, sampling: SamplingParams, noise: Tensor) -> list[Response]:
        """Decode until every response has ended or is at the limit; ``noise`` is ``[N, max_new_tokens]``."""
        warpers = logits_warpers(sampling) if not sampling.greedy else None
        noise = noise.to(self.model.device)
        count = len(noise)
        tokens = torch.full_like(noise, self.end.pad_token_id, dtype=torch.long)
        logprobs = torch.zeros_like(noise, dtype=torch.float32)
        lengths = torch.full((count,), sampling.max_new_tokens, device=self.model.device)
        alive = torch.arange(count, device=self.model.device)
        for step in range(sampling.max_new_tokens):
            if warpers is None:
                chosen = self.logits.argmax(dim=-1)
            else:
                chosen = draw(warpers(self.mask, self.logits), noise[alive, step])  # type: ignore[arg-type]
            tokens[alive, step] = chosen
            logprobs[alive, step] = token_logprobs(self.logits, chosen)
            ended = torch.isin(chosen, self.eos)
            lengths[alive[ended]] = step + 1
            alive = alive[~ended]
            if not len(alive) or step + 1 == sampling.max_new_tokens:
                break
            self._keep(~ended)
            self.logits = self._advance(chosen[~ended])
        finished = torch.isin(tokens.gather(1, lengths.unsqueeze(1) - 1), self.eos).squeeze(1)
        rows = zip(tokens.tolist(), logprobs.tolist(), lengths.tolist(), finished.tolist(), strict=True)
        return [Response(ids[:length], done, values[:length]) for ids, values, length, done in rows]

    def _keep(self, rows: Tensor) -> None:
        if not rows.all():
            self.cache.batch_select_indices(rows.nonzero().squeeze(1))
            self.mask = self.mask[rows]

    def _advance(self, tokens: Tensor) -> Tensor:
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.mask), 1)], dim=1)
        return self._forward(tokens.unsqueeze(1))

    def _forward(self, input_ids: Tensor) -> Tensor:
        # Padding stands on the left, so positions are counted, not taken from the column.
        positions = (self.mask.cumsum(dim=1) - 1).clamp(min=0)[:, -input_ids.shape[1] :]
        output = self.model(
            input_ids=input_ids,
            attention_mask=self.mask,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: Tensor = output.logits[:, -1].float()
        if logits.isnan().any():
            raise RuntimeError(
                "the policy's logits are not numbers, so nothing can be drawn from it: its weights have diverged or "
                "are broken. Go back to an earlier checkpoint and lower the learning rate"
            )
        return logits
