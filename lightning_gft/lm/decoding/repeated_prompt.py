"""Decoding with a copy of the prompt's keys and values for every response, which works for any model."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel


class RepeatedPrompts:
    """The keys and values of each response, prompt included, in transformers' own layout.

    Args:
        model: A causal language model.
        cache: The model's cache after a prefill of ``P`` prompts; it is taken over and changed.
        mask: ``[P, T]``, 0 at the padding on the left.
        num_generations: Number of responses per prompt.
    """

    def __init__(self, model: PreTrainedModel, cache: DynamicCache, mask: Tensor, num_generations: int) -> None:
        self.model = model
        self.cache = cache
        self.mask = mask
        if num_generations > 1:
            self.cache.batch_repeat_interleave(num_generations)
            self.mask = self.mask.repeat_interleave(num_generations, dim=0)

    def keep(self, rows: Tensor) -> None:
        """Drop all other responses; ``rows`` are ascending numbers of unfinished responses, on the CPU."""
        rows = rows.to(self.mask.device, non_blocking=True)
        self.cache.batch_select_indices(rows)
        self.mask = self.mask[rows]

    def advance(self, tokens: Tensor) -> Tensor:
        """Run the next token ``[N]`` of each unfinished response and return logits ``[N, V]``."""
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.mask), 1)], dim=1)
        output = self.model(
            input_ids=tokens.unsqueeze(1),
            attention_mask=self.mask,
            position_ids=self.mask.sum(dim=1, keepdim=True) - 1,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: Tensor = output.logits[:, -1]
        return logits
