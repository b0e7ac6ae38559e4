"""Decoding with a cache in which every response has its prompt's keys and values: for any model."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel


class RepeatedPrompts:
    """The keys and values of each response, prompt included, as transformers keeps them.

    Args:
        model: A causal language model.
        cache: What it made of ``P`` prompts; taken over.
        mask: ``[P, T]``, 0 at the padding on the left.
        num_generations: Responses a prompt.
    """

    def __init__(self, model: PreTrainedModel, cache: DynamicCache, mask: Tensor, num_generations: int) -> None:
        self.model = model
        self.cache = cache
        self.mask = mask
        if num_generations > 1:
            self.cache.batch_repeat_interleave(num_generations)
            self.mask = self.mask.repeat_interleave(num_generations, dim=0)

    def keep(self, rows: Tensor) -> None:
        """Drop all other responses; ``rows`` are numbers of those in flight, on the CPU and in order."""
        rows = rows.to(self.mask.device, non_blocking=True)
        self.cache.batch_select_indices(rows)
        self.mask = self.mask[rows]

    def advance(self, tokens: Tensor) -> Tensor:
        """Run one more token ``[N]`` of each response in flight, and return logits ``[N, V]``."""
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
