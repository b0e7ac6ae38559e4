"""Decoding against prompts whose keys and values are held once, however many responses each has.

A step of decoding reads all keys and values there are, and little else takes time once prompts are long. So those of a
prompt are not repeated for its ``K`` responses; all ``K`` queries meet them in one product. The grid of ``P * K``
places keeps its shape while responses end: the rest of the model sees only those that go on, and the grid is packed
when a quarter of it can go.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from typing_extensions import override

from lightning_gft.rollout.grid import Grid

_WORTH_PACKING = 0.75
"""Packing copies what is left, so it waits until no more than this share is."""


def can_share(model: PreTrainedModel, cache: DynamicCache, longest: int) -> bool:
    """Return whether the model's attention is one that :class:`SharedPrompts` can stand in for.

    It stands in for transformers' ``sdpa``, which knows no biases, caps or sinks, and for layers that see everything.

    Args:
        model: A causal language model.
        cache: What it made of the prompts.
        longest: Tokens of a prompt and its longest response.
    """
    config = model.config
    return (
        config._attn_implementation == "sdpa"
        and model._supports_attention_backend
        and config.get_text_config() is config
        and len(cache.layers) == config.num_hidden_layers
        and all(_sees_everything(layer, longest) for layer in cache.layers)
    )


class SharedPrompts:
    """The prompts' keys and values, and behind them those of the responses so far.

    Args:
        model: For which :func:`can_share` holds.
        cache: What it made of ``P`` prompts; taken over.
        mask: ``[P, T]``, 0 at the padding on the left.
        num_generations: Responses a prompt.
    """

    def __init__(self, model: PreTrainedModel, cache: DynamicCache, mask: Tensor, num_generations: int) -> None:
        self.model = model
        self.cache = cache
        self.grid = Grid(len(mask), num_generations, mask.device)
        self.padding = (mask == 0)[:, None, None] if not mask.all() else None
        self.positions = mask.sum(dim=1).repeat_interleave(num_generations)
        self.layers = [_Layer(layer.keys, layer.values, self.grid) for layer in cache.layers]
        cache.layers = self.layers

    def keep(self, rows: Tensor) -> None:
        """Go on with some of the responses alone.

        Args:
            rows: Their places among those in flight, on the CPU and in order.
        """
        self.positions = self.positions[rows.to(self.positions.device)]
        self.grid.keep(rows)
        if self.grid.packed_share <= _WORTH_PACKING:
            prompts, places = self.grid.pack()
            for layer in self.layers:
                layer.select(prompts, places)
            if self.padding is not None:
                self.padding = self.padding[prompts]

    def advance(self, tokens: Tensor) -> Tensor:
        """Run one more token of each response in flight.

        Args:
            tokens: ``[N]``

        Returns:
            ``[N, V]`` logits.
        """
        with self._attending():
            output = self.model(
                input_ids=tokens.unsqueeze(1),
                position_ids=self.positions.unsqueeze(1),
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=1,
            )
        if any(layer.handed is not None for layer in self.layers):
            raise self._unusable()
        self.positions = self.positions + 1
        logits: Tensor = output.logits[:, -1]
        return logits

    @contextmanager
    def _attending(self) -> Iterator[None]:
        """Put our attention in the place of the model's; as transformers knows no mask for it, it builds none."""
        name = f"lightning_gft_{id(self)}"
        config = self.model.config
        usual = config._attn_implementation
        ALL_ATTENTION_FUNCTIONS[name] = self._attend
        config._attn_implementation = name
        try:
            yield
        finally:
            config._attn_implementation = usual
            del ALL_ATTENTION_FUNCTIONS[name]

    def _attend(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        scaling: float | None = None,
        **_: Any,
    ) -> tuple[Tensor, None]:
        """Attend from ``[N, heads, 1, D]`` to the prompts and to what the layer has just handed out."""
        layer = self.layers[module.layer_idx]  # type: ignore[index]
        if key is not layer.handed or attention_mask is not None:
            raise self._unusable()
        layer.handed = None
        scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
        queries = self.grid.spread(query.squeeze(2) * scaling)
        attended = _attend(queries, layer.prompt_keys, layer.prompt_values, key, value, self.padding)
        return self.grid.gather(attended).unsqueeze(1), None

    def _unusable(self) -> RuntimeError:
        return RuntimeError(
            f"{type(self.model).__name__} does not attend as other models do; load it with attn_implementation='eager'"
        )


class _Layer(DynamicLayer):
    """Keys and values of one layer; ``update`` hands out those of the responses alone."""

    def __init__(self, prompt_keys: Tensor, prompt_values: Tensor, grid: Grid) -> None:
        super().__init__()
        self.lazy_initialization(prompt_keys, prompt_values)
        self.prompt_keys, self.prompt_values = prompt_keys, prompt_values
        self.grid = grid
        self.length = 0
        # Zeros, not what memory held: the places of ended responses take part in products whose outcome nobody reads.
        self.keys, self.values = (_room(part, grid.size, 0) for part in (prompt_keys, prompt_values))
        self.handed: Tensor | None = None

    @override
    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        if self.length == self.keys.shape[2]:
            self.keys, self.values = (_grown(part) for part in (self.keys, self.values))
        self.keys[self.grid.places, :, self.length] = key_states.squeeze(2)
        self.values[self.grid.places, :, self.length] = value_states.squeeze(2)
        self.length += 1
        self.handed = self.keys[:, :, : self.length]
        return self.handed, self.values[:, :, : self.length]

    @override
    def get_seq_length(self) -> int:
        return self.prompt_keys.shape[2] + self.length

    def select(self, prompts: Tensor, places: Tensor) -> None:
        """Keep some prompts, and of the grid's places those that are to make up the new grid."""
        if len(prompts) < len(self.prompt_keys):
            self.prompt_keys, self.prompt_values = self.prompt_keys[prompts], self.prompt_values[prompts]
        self.keys, self.values = self.keys[places], self.values[places]


def _sees_everything(layer: object, longest: int) -> bool:
    if type(layer) is DynamicSlidingWindowLayer:
        return longest < layer.sliding_window
    return type(layer) is DynamicLayer


def _room(like: Tensor, rows: int, length: int) -> Tensor:
    return like.new_zeros(rows, like.shape[1], length, like.shape[3])


def _grown(part: Tensor) -> Tensor:
    """Return the same with room for as many tokens again: what is copied in all stays below twice the end's size."""
    room = _room(part, len(part), max(32, 2 * part.shape[2]))
    room[:, :, : part.shape[2]] = part
    return room


def _attend(
    queries: Tensor, prompt_keys: Tensor, prompt_values: Tensor, keys: Tensor, values: Tensor, padding: Tensor | None
) -> Tensor:
    """Return what one softmax over both a prompt and a response's own tokens takes from them.

    Args:
        queries: ``[P * K, heads, D]``, scaled.
        prompt_keys: ``[P, key heads, T, D]``
        prompt_values: The same.
        keys: ``[P * K, key heads, t, D]``
        values: The same.
        padding: ``[P, 1, 1, T]``, true where a prompt has none of its own.

    Returns:
        ``[P * K, heads, D]``
    """
    prompts, heads, prompt_length, _ = prompt_keys.shape
    size, all_heads, _ = queries.shape
    group, share = size // prompts, all_heads // heads

    def by_prompt(own: Tensor) -> Tensor:  # [P * K, key heads, share, x] -> [P, key heads, K * share, x]
        own = own.view(prompts, group, heads, share, own.shape[-1]).transpose(1, 2)
        return own.reshape(prompts, heads, group * share, own.shape[-1])

    def by_response(shared: Tensor) -> Tensor:  # and back
        shared = shared.view(prompts, heads, group, share, shared.shape[-1]).transpose(1, 2)
        return shared.reshape(size, heads, share, shared.shape[-1])

    by_head = queries.view(size, heads, share, -1)
    prompt_scores = _product(by_prompt(by_head), prompt_keys.transpose(2, 3))
    if padding is not None:
        prompt_scores = prompt_scores.masked_fill(padding, -torch.inf)
    scores = torch.cat([prompt_scores, by_prompt(_product(by_head, keys.transpose(2, 3)))], dim=-1)
    weights = scores.softmax(dim=-1).to(queries.dtype)
    from_prompt = by_response(_product(weights[..., :prompt_length], prompt_values))
    from_itself = _product(by_response(weights[..., prompt_length:]), values)
    return (from_prompt + from_itself).view(size, all_heads, -1).to(queries.dtype)


def _product(left: Tensor, right: Tensor) -> Tensor:
    """Return ``left @ right`` in at least float32, in which half precision is summed by attention's own kernels too."""
    if left.dtype == torch.float32:
        return left @ right
    if left.is_cuda:
        flat = torch.bmm(left.flatten(0, 1), right.flatten(0, 1), out_dtype=torch.float32)
        return flat.view(*left.shape[:-1], right.shape[-1])
    return left.float() @ right.float()
