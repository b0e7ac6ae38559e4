"""Generating responses to a batch of prompts: prefilled once, then decoded token by token."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from lightning_gft.errors import GFTRuntimeError
from lightning_gft.functional import token_logprobs
from lightning_gft.lm.decoding.repeated_prompt import RepeatedPrompts
from lightning_gft.lm.decoding.sampling import draw, logits_warpers, uniform_noise
from lightning_gft.lm.decoding.shareable import shares_prompts
from lightning_gft.lm.decoding.shared_prompt import SharedPrompts, attends_to_all
from lightning_gft.lm.decoding.stopping import EndTokens
from lightning_gft.phases import draw_counts
from lightning_gft.sampling import SamplingParams
from lightning_gft.types import Response
from lightning_gft.waiting import check_stop


class Decoder:
    """Draws the same number of responses to each of several prompts.

    Args:
        model: A causal language model.
        prompt_ids: Token ids of ``P`` prompts.
        seeds: One seed for each of ``N`` responses, prompt by prompt; ``None`` makes a response greedy.
        sampling: Temperature, filters and length limits.
        end: Tokens and texts that end a response.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        prompt_ids: Sequence[Sequence[int]],
        seeds: Sequence[int | None],
        sampling: SamplingParams,
        end: EndTokens,
    ) -> None:
        self.model = model
        self.prompt_ids = prompt_ids
        self.num_generations = len(seeds) // len(prompt_ids)
        self.sampling = sampling
        self.end = end
        self.eos = torch.tensor(end.eos_token_ids, device=model.device)
        self.warpers = logits_warpers(sampling)
        self.noise = uniform_noise(seeds, sampling.max_new_tokens).to(model.device)
        greedy = torch.tensor([sampling.greedy or seed is None for seed in seeds])
        self.all_greedy = bool(greedy.all())
        self.greedy = greedy.to(model.device) if greedy.any() else None

    @torch.no_grad()
    def run(self) -> list[Response]:
        """Decode until every response has ended or reached the limit.

        Raises:
            RunStoppedError: If the run was asked to stop, and can abandon this draw.
        """
        limit, count, counts = self.sampling.max_new_tokens, len(self.noise), draw_counts()
        check_stop()
        states, logits = self._prefill()
        tokens = torch.full_like(self.noise, self.end.pad_token_id, dtype=torch.long)
        logprobs = torch.zeros_like(self.noise, dtype=torch.float32)
        lengths = torch.full((count,), limit)
        finished = torch.zeros(count, dtype=torch.bool)
        alive = torch.arange(count)
        for step in range(limit):
            rows = alive.to(self.model.device, non_blocking=True)
            chosen = self._choose(logits, rows, step)
            tokens[rows, step] = chosen
            logprobs[rows, step] = scores = token_logprobs(logits, chosen)
            newest, ended = self._newest(chosen, scores)
            if self.end.stop is not None:
                ended |= self.end.stop.completed(tokens[:, : step + 1], rows, newest)
            lengths[alive[ended]] = step + 1
            finished[alive[ended]] = True
            unfinished = (~ended).nonzero().squeeze(1)
            is_last = not len(unfinished) or step + 1 == limit
            counts.add(len(alive) if is_last else len(alive) - len(unfinished), tokens=len(alive))
            alive = alive[unfinished]
            if is_last:
                break
            check_stop()
            if ended.any():
                states.keep(unfinished)
                chosen = chosen[unfinished.to(chosen.device, non_blocking=True)]
            logits = states.advance(chosen).float()
        columns = (column.tolist() for column in (tokens, logprobs, lengths, finished))
        return [
            Response(ids[:length], done, values[:length]) for ids, values, length, done in zip(*columns, strict=True)
        ]

    def _prefill(self) -> tuple[SharedPrompts | RepeatedPrompts, Tensor]:
        shares = shares_prompts(self.model).value  # probed before this cache is filled, in passes of its own
        width = max(map(len, self.prompt_ids))
        padded = [[self.end.pad_token_id] * (width - len(ids)) + list(ids) for ids in self.prompt_ids]
        mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in self.prompt_ids])
        cache = DynamicCache(config=self.model.config)
        output = self.model(
            input_ids=torch.tensor(padded, device=self.model.device),
            attention_mask=mask.to(self.model.device),
            # Padding is on the left, so a position is a count of real tokens, not a column number.
            position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0).to(self.model.device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        held_once = shares and attends_to_all(cache, width + self.sampling.max_new_tokens)
        kind = SharedPrompts if held_once else RepeatedPrompts
        states = kind(self.model, cache, mask.to(self.model.device), self.num_generations)
        return states, output.logits[:, -1].float().repeat_interleave(self.num_generations, dim=0)

    def _choose(self, logits: Tensor, rows: Tensor, step: int) -> Tensor:
        if step < self.sampling.min_new_tokens:
            logits = logits.index_fill(1, self.eos, -torch.inf)
        if self.all_greedy:
            return logits.argmax(dim=-1)
        # None of the warpers reads the tokens so far.
        drawn = draw(self.warpers(None, logits), self.noise[rows, step])  # type: ignore[arg-type]
        return drawn if self.greedy is None else torch.where(self.greedy[rows], logits.argmax(dim=-1), drawn)

    def _newest(self, chosen: Tensor, logprobs: Tensor) -> tuple[list[int], Tensor]:
        """Return on the CPU the new tokens, and which of them end a response.

        This is the only synchronisation with the device in a step, unless a stop string may be complete.
        """
        # One NaN among a row's logits makes all log-probabilities of the row NaN.
        newest, ended, broken = torch.stack([chosen, torch.isin(chosen, self.eos), logprobs.isnan()]).cpu()
        if broken.any():
            raise GFTRuntimeError(
                "the policy's logits: expected numbers, got NaN; its weights have diverged or are broken: go back to "
                "an earlier checkpoint and lower the learning rate"
                "earlier checkpoint and lower the learning rate"
            )
        return newest.tolist(), ended.bool()
