"""Rollouts with the training model itself, through transformers' key-value cache."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from typing_extensions import override

from lightning_gft.checks import check_count
from lightning_gft.errors import GFTRuntimeError
from lightning_gft.functional import token_logprobs
from lightning_gft.lm.decoding.repeated_prompt import RepeatedPrompts
from lightning_gft.lm.decoding.sampling import draw, logits_warpers, uniform_noise
from lightning_gft.lm.decoding.shareable import can_be_shared
from lightning_gft.lm.decoding.shared_prompt import SharedPrompts, can_share
from lightning_gft.lm.decoding.stopping import EndTokens
from lightning_gft.rollout.engine import RolloutEngine
from lightning_gft.sampling import SamplingParams
from lightning_gft.types import Response


class TransformersEngine(RolloutEngine):
    """Generates with the model in place: nothing is copied, the weights are always the current ones.

    A prompt is prefilled once for all of its responses, prompts of similar length share a batch, and responses that
    have ended leave it. With transformers' ``sdpa`` attention a prompt's keys and values are also held once.

    Args:
        max_batch_size: Most responses in flight at once; bounds the memory of the key-value cache.

    Raises:
        ValueError: If ``max_batch_size`` is below 1.
        TypeError: If it is not a whole number.

    Example:
        >>> TransformersEngine(max_batch_size=256).max_batch_size
        256
    """

    def __init__(self, max_batch_size: int = 1024) -> None:
        self.max_batch_size = check_count("max_batch_size", max_batch_size)

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
        shares = can_be_shared(model)
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
            decoder = _Decoder(model, [prompt_ids[i] for i in chosen], len(generations), end, shares)
            drawn = decoder.run(sampling, uniform_noise(chosen_seeds, sampling.max_new_tokens))
            for position, i in enumerate(chosen):
                responses[i] += drawn[position * len(generations) : (position + 1) * len(generations)]
        return responses


class _Decoder:
    """One batch of prompts on its way through the model."""

    def __init__(
        self,
        model: PreTrainedModel,
        prompt_ids: Sequence[Sequence[int]],
        num_generations: int,
        end: EndTokens,
        shares: bool,
    ) -> None:
        self.model = model
        self.prompt_ids = prompt_ids
        self.num_generations = num_generations
        self.end = end
        self.shares = shares
        self.eos = torch.tensor(end.eos_token_ids, device=model.device)

    def run(self, sampling: SamplingParams, noise: Tensor) -> list[Response]:
        """Decode until every response has ended or is at the limit; ``noise`` is ``[N, max_new_tokens]``."""
        states, logits = self._prefill(sampling.max_new_tokens)
        noise = noise.to(self.model.device)
        tokens = torch.full_like(noise, self.end.pad_token_id, dtype=torch.long)
        logprobs = torch.zeros_like(noise, dtype=torch.float32)
        lengths = torch.full((len(noise),), sampling.max_new_tokens)
        finished = torch.zeros(len(noise), dtype=torch.bool)
        alive = torch.arange(len(noise))
        for step in range(sampling.max_new_tokens):
            rows = alive.to(self.model.device, non_blocking=True)
            chosen = self._choose(sampling, self._allowed(logits, sampling, step), noise[rows, step])
            tokens[rows, step] = chosen
            logprobs[rows, step] = scores = token_logprobs(logits, chosen)
            newest, ended = self._newest(chosen, scores)
            if self.end.stop is not None:
                ended |= self.end.stop.completed(tokens[:, : step + 1], rows, newest)
            lengths[alive[ended]] = step + 1
            finished[alive[ended]] = True
            unfinished = (~ended).nonzero().squeeze(1)
            alive = alive[unfinished]
            if not len(alive) or step + 1 == sampling.max_new_tokens:
                break
            if ended.any():
                states.keep(unfinished)
                chosen = chosen[unfinished.to(chosen.device, non_blocking=True)]
            logits = states.advance(chosen).float()
        columns = (column.tolist() for column in (tokens, logprobs, lengths, finished))
        return [
            Response(ids[:length], done, values[:length]) for ids, values, length, done in zip(*columns, strict=True)
        ]

    def _prefill(self, max_new_tokens: int) -> tuple[SharedPrompts | RepeatedPrompts, Tensor]:
        width = max(map(len, self.prompt_ids))
        padded = [[self.end.pad_token_id] * (width - len(ids)) + list(ids) for ids in self.prompt_ids]
        mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in self.prompt_ids])
        cache = DynamicCache(config=self.model.config)
        output = self.model(
            input_ids=torch.tensor(padded, device=self.model.device),
            attention_mask=mask.to(self.model.device),
            # Padding stands on the left, so positions are counted, not taken from the column.
            position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0).to(self.model.device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        kind = SharedPrompts if self.shares and can_share(cache, width + max_new_tokens) else RepeatedPrompts
        states = kind(self.model, cache, mask.to(self.model.device), self.num_generations)
        return states, output.logits[:, -1].float().repeat_interleave(self.num_generations, dim=0)

    def _allowed(self, logits: Tensor, sampling: SamplingParams, step: int) -> Tensor:
        """Return the logits with every end ruled out, as long as a response is too short for one."""
        return logits if step >= sampling.min_new_tokens else logits.index_fill(1, self.eos, -torch.inf)

    def _choose(self, sampling: SamplingParams, logits: Tensor, noise: Tensor) -> Tensor:
        if sampling.greedy:
            return logits.argmax(dim=-1)
        # No warper of ours looks at the tokens so far.
        warped: Tensor = logits_warpers(sampling)(None, logits)  # type: ignore[arg-type]
        return draw(warped, noise)

    def _newest(self, chosen: Tensor, logprobs: Tensor) -> tuple[list[int], Tensor]:
        """Return on the CPU the new tokens and which of them end a response.

        This is the one time in a step that it waits for the device, unless a stop string may be complete.
        """
        # One logit that is not a number makes all log-probabilities of its row such.
        newest, ended, broken = torch.stack([chosen, torch.isin(chosen, self.eos), logprobs.isnan()]).cpu()
        if broken.any():
            raise GFTRuntimeError(
                "the policy's logits are not numbers, so nothing can be drawn from it: its weights have diverged or "
                "are broken. Go back to an earlier checkpoint and lower the learning rate"
            )
        return newest.tolist(), ended.bool()
