"""Whether a model can run packs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from lightning_gft.functional.head.linear_head import LinearHead
from lightning_gft.lm.attention import (
    Attending,
    AttentionFunction,
    attention_name,
    can_redirect_attention,
    leave_attention,
    redirect_attention,
)
from lightning_gft.lm.capabilities import Capability, capability, tolerance
from lightning_gft.lm.heads import linear_head
from lightning_gft.lm.micro_batches import micro_batches
from lightning_gft.lm.packing import Pack
from lightning_gft.types import Sequences

_WINDOWS = ("sliding_window", "attention_chunk_size")
_LAYERS = {"full_attention", "sliding_attention", "chunked_attention"}
_PROMPTS = [[2], [0, 1], [0, 1]]
_RESPONSES = [[3, 0, 1], [2, 1, 0], [2, 3, 1]]
"""Two sequences share their prompt and one more token. They are in the order of a pack."""
_SLOTS = [{0, 1, 2}, {3, 4, 5, 6}, {3, 4, 5, 7}]
"""Slots of the tokens of each of these sequences, the last token excepted."""


@capability
def longest_pack(model: PreTrainedModel) -> Capability[int | None]:
    """Redirect a model's attention to packs if packs give the states of padded sequences; otherwise leave it as it is.

    The answer is *tried* on a few tokens: the states must be the same, every layer must compute its attention in
    blocks, and no token may influence the states of another sequence. Layers that mix tokens in another way, such as
    recurrent ones, would mix sequences.

    Returns:
        Longest sequence, in tokens, that can be packed; 0 if none can, ``None`` for no limit.
    """
    length, reason = _find_longest(model)
    if length is None:
        return Capability(None)
    if length == 0:
        leave_attention(model)
    which = f"longer than {length} tokens " if length else ""
    return Capability(length, f"sequences {which}are padded, each in a row of its own: {reason}")


def _find_longest(model: PreTrainedModel) -> tuple[int | None, str]:
    if reason := _configured_reason(model.config.get_text_config()):
        return 0, reason
    if not can_redirect_attention(model):  # checked before it runs: some functions are compiled, which takes a minute
        return 0, f"attn_implementation={attention_name(model)!r} cannot be redirected to packs"
    try:
        return _probe(model, linear_head(model).value)
    except torch.OutOfMemoryError:
        raise  # says nothing about the model
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        return 0, f"{type(model).__name__} cannot run a pack: {error}"


def _configured_reason(config: PreTrainedConfig) -> str:
    """Return why a configuration rules packs out where a probe of a few tokens would not show it."""
    if others := set(getattr(config, "layer_types", None) or ()) - _LAYERS:
        return f"it has layers of type {', '.join(sorted(others))}"
    if getattr(config, "attn_temperature_tuning", None):
        return "attn_temperature_tuning scales tokens by their position in a row"
    return ""


def _probe(model: PreTrainedModel, head: LinearHead | None) -> tuple[int | None, str]:
    sequences = _sequences(model.device)
    [padded], [pack] = (micro_batches(sequences, 100, longest) for longest in (0, None))
    assert isinstance(pack, Pack)  # noqa: S101 (its length is not limited)
    with torch.no_grad():
        own = padded.states(model, head)
        redirect_attention(model)
        redirected = padded.states(model, head)
    pack.attention = recorder = _WindowRecorder(pack.attention)
    states, touched = _with_touched_slots(model, head, pack)
    config = model.config.get_text_config()
    if len(recorder.windows) != config.num_hidden_layers:
        return 0, f"only {len(recorder.windows)} of its {config.num_hidden_layers} layers are attention"
    if any(slots - allowed for slots, allowed in zip(touched, _SLOTS, strict=True)):
        return 0, f"{type(model).__name__} would mix the sequences of a pack"
    if not _alike(model, redirected, own) or not _alike(model, states, own[padded.index.argsort()][pack.index]):
        return 0, f"{type(model).__name__} gives other states for a pack"
    limits = {name: getattr(config, name, None) for name in _WINDOWS}
    # A window that a layer does not pass to its attention function is only in the mask, which a pack replaces.
    unseen = {name: limit for name, limit in limits.items() if limit and limit not in recorder.windows}
    name = min(unseen, key=unseen.__getitem__, default=None)
    return (None, "") if name is None else (unseen[name], f"{name}={unseen[name]}")


@torch.enable_grad()
def _with_touched_slots(model: PreTrainedModel, head: LinearHead | None, pack: Pack) -> tuple[Tensor, list[set[int]]]:
    """Return the states of a pack and, for each sequence, the slots from which a gradient reaches its states.

    A gradient of exactly zero is proof in any precision, whereas a small difference could be rounding.
    """
    embedded: list[Tensor] = []

    def watch(_: object, __: object, output: Tensor) -> Tensor:
        embedded.append(output.detach().requires_grad_())
        return embedded[-1]

    hook = model.get_input_embeddings().register_forward_hook(watch)
    try:
        states = pack.states(model, head)
    finally:
        hook.remove()
    uneven = torch.arange(states.shape[1], device=states.device).cos()  # norms would cancel the gradient of a plain sum
    touched = []
    for part in states.split([len(response) for response in _RESPONSES]):
        (gradient,) = torch.autograd.grad((part.float() * uneven).sum(), embedded, retain_graph=True)
        touched.append(set(gradient[0].abs().sum(dim=-1).nonzero().squeeze(1).tolist()))
    return states.detach(), touched


def _alike(model: PreTrainedModel, states: Tensor, own: Tensor) -> bool:
    difference = (states - own).float().norm(dim=1)
    # In 8 bits, tokens share the columns that are kept in 16 bits.
    dtype = torch.float16 if getattr(model, "is_loaded_in_8bit", False) else own.dtype
    return bool((difference <= tolerance(dtype) * own.float().norm(dim=1)).all())


class _WindowRecorder:
    """Records the window that each layer passes to its attention function."""

    def __init__(self, attention: Attending) -> None:
        self.attention = attention
        self.windows: list[int | None] = []

    def attend(
        self, function: AttentionFunction, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, **kwargs: Any
    ) -> Tensor:
        self.windows.append(kwargs.get("sliding_window"))
        return self.attention.attend(function, module, query, key, value, **kwargs)


def _sequences(device: torch.device) -> Sequences:
    rows = [prompt + response for prompt, response in zip(_PROMPTS, _RESPONSES, strict=True)]
    width = max(map(len, rows))
    position = torch.arange(width, device=device)
    lengths, prompts = (torch.tensor([len(row) for row in of], device=device)[:, None] for of in (rows, _PROMPTS))
    return Sequences(
        input_ids=torch.tensor([row + [0] * (width - len(row)) for row in rows], device=device),
        attention_mask=position < lengths,
        response_mask=(position < lengths) & (position >= prompts),
    )
