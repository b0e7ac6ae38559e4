"""Decoding against prompts whose keys and values are held once, for any number of responses.

A decoding step reads all cached keys and values, and with long prompts it spends little time on anything else. So those
of a prompt are not repeated for its ``K`` responses; all ``K`` queries are multiplied with them in one product.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from lightning_gft.lm.attention import AttentionFunction, RedirectionError, attend_through
from lightning_gft.lm.decoding.shared_layer import SharedLayer, product
from lightning_gft.lm.decoding.slots import Slots

_WORTH_COPYING = 0.75
"""Compacting copies everything that is kept, so it waits until no more than this fraction is kept."""


def attends_to_all(cache: DynamicCache, longest: int) -> bool:
    """Return whether all layers of a cache keep all of ``longest`` tokens, so that a prompt can be held once."""
    return all(_attends_to_all(layer, longest) for layer in cache.layers)


def _attends_to_all(layer: object, longest: int) -> bool:
    if type(layer) is DynamicSlidingWindowLayer:
        return longest < layer.sliding_window
    return type(layer) is DynamicLayer


class SharedPrompts:
    """The keys and values of the prompts, and apart from them those of the responses so far.

    Args:
        model: A model that passes :func:`~lightning_gft.lm.decoding.shareable.shares_prompts`.
        cache: The model's cache after a prefill of ``P`` prompts, which fulfils :func:`attends_to_all`; it is taken
            over and changed.
        mask: ``[P, T]``, 0 at the padding on the left.
        num_generations: Number of responses per prompt.
    """

    def __init__(self, model: PreTrainedModel, cache: DynamicCache, mask: Tensor, num_generations: int) -> None:
        self.model = model
        self.cache = cache
        count, self.device = len(mask), mask.device
        self.padding = (mask == 0)[:, None, None] if not mask.all() else None
        self.positions = mask.sum(dim=1).repeat_interleave(num_generations)
        self.prompts = torch.arange(count).repeat_interleave(num_generations)
        self.by_prompt = Slots.by_prompt(self.prompts, count, self.device)
        self.stored = Slots.filling(len(self.prompts), self.device)
        self.layers = [SharedLayer(layer.keys, layer.values, self.stored) for layer in cast("Any", cache.layers)]
        cache.layers = list(self.layers)

    def keep(self, rows: Tensor) -> None:
        """Drop all other responses; ``rows`` are ascending numbers of unfinished responses, on the CPU."""
        self.positions = self.positions[rows.to(self.device, non_blocking=True)]
        self.prompts = self.prompts[rows]
        self._keep_prompts()
        self._keep_stored(self.stored.of(rows))

    def advance(self, tokens: Tensor) -> Tensor:
        """Run the next token ``[N]`` of each unfinished response and return logits ``[N, V]``."""
        output = self.model(
            input_ids=tokens.unsqueeze(1),
            position_ids=self.positions.unsqueeze(1),
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
            **attend_through(self.model, self, self.device),
        )
        if any(layer.handed is not None for layer in self.layers):
            raise RedirectionError("its layers do not use the attention function that transformers gives them")
        self.positions = self.positions + 1
        logits: Tensor = output.logits[:, -1]
        return logits

    def _keep_prompts(self) -> None:
        needed, there = self.prompts.unique(), len(self.layers[0].prompt_keys)
        if len(needed) <= _WORTH_COPYING * there:
            index = needed.to(self.device, non_blocking=True)
            for layer in self.layers:
                layer.keep_prompts(index)
            if self.padding is not None:
                self.padding = self.padding[index]
            self.prompts, there = torch.searchsorted(needed, self.prompts), len(needed)
        self.by_prompt = Slots.by_prompt(self.prompts, there, self.device)

    def _keep_stored(self, stored: Slots) -> None:
        worth_it = len(stored.taken) <= _WORTH_COPYING * stored.size
        self.stored = Slots.filling(len(stored.taken), self.device) if worth_it else stored
        for layer in self.layers:
            if worth_it:
                layer.keep_stored(stored.index)
            layer.stored = self.stored

    def attend(
        self,
        function: AttentionFunction,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scaling: float | None = None,
        **_: Any,
    ) -> Tensor:
        """Attend from ``[N, heads, 1, D]``, with one softmax over a prompt and the keys returned by the layer's cache.

        Raises:
            RedirectionError: If a layer attends to keys other than those of its cache.
        """
        layer = self.layers[module.layer_idx]  # type: ignore[index]
        if key is not layer.handed:
            raise RedirectionError("its layers attend to other keys than those in their cache")
        layer.handed = None
        scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
        queries = (query.squeeze(2) * scaling).unflatten(1, (key.shape[1], -1)).to(key.dtype)
        with torch.autocast(query.device.type, enabled=False):  # autocast would round the scores
            to_prompt = self._shared(queries, layer.prompt_keys.transpose(2, 3), self.padding)
            to_itself = self._own(queries, key.transpose(2, 3))
            weights = torch.cat([to_prompt, to_itself], dim=-1).softmax(dim=-1).to(value.dtype)
            of_prompt, of_itself = weights.split([to_prompt.shape[-1], to_itself.shape[-1]], dim=-1)
            attended = self._shared(of_prompt, layer.prompt_values) + self._own(of_itself, value)
        return attended.to(value.dtype).flatten(1, 2).unsqueeze(1)

    def _own(self, rows: Tensor, stored: Tensor) -> Tensor:
        """Multiply ``[N, key heads, share, x]`` with each response's own cache, ``[S, key heads, x, y]``."""
        return self.stored.gather(product(self.stored.spread(rows), stored))

    def _shared(self, rows: Tensor, stored: Tensor, padding: Tensor | None = None) -> Tensor:
        """Multiply ``[N, key heads, share, x]`` with each prompt's cache, ``[P, key heads, x, y]``."""
        share = rows.shape[2]
        by_prompt = self.by_prompt.spread(rows).unflatten(0, (len(stored), -1)).transpose(1, 2)
        of_all = product(by_prompt.flatten(2, 3), stored)
        if padding is not None:
            of_all = of_all.masked_fill_(padding, -torch.inf)
        return self.by_prompt.gather(of_all.unflatten(2, (-1, share)).transpose(1, 2).flatten(0, 1))
