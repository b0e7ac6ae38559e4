"""Finding out whether a model can be run on packs."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel
from typing_extensions import override

from lightning_gft.functional.head.linear_head import LinearHead
from lightning_gft.lm.attention import attention_name, leave_attention, redirect_attention
from lightning_gft.lm.forward import packed_states, padded_states
from lightning_gft.lm.packing import Pack, pack
from lightning_gft.types import GroupBatch

_WINDOWS = ("sliding_window", "attention_chunk_size")
_LAYERS = {"full_attention", "sliding_attention", "chunked_attention"}
_PROMPTS = [[0, 1], [0, 1], [2]]
_RESPONSES = [[2, 3, 1], [2, 1, 0], [3, 0, 1]]
_GROUPS = [0, 0, 1]
_PLACES = [{0, 1, 2, 4}, {0, 1, 2, 3}, {5, 6, 7}]
"""Where the tokens of each of these sequences, but the last, stand in their pack."""


@dataclass(frozen=True)
class Packability:
    """What of a model's sequences can be packed.

    Args:
        longest: Longest sequence, in tokens; 0 for none at all, ``None`` for no limit.
        reason: Why there is a limit.
    """

    longest: int | None = None
    reason: str = ""

    def __str__(self) -> str:
        which = f"longer than {self.longest} tokens " if self.longest else ""
        return f"sequences {which}are padded, and each runs through the model by itself: {self.reason}"


def find_packability(model: PreTrainedModel, head: LinearHead | None) -> Packability:
    """Redirect a model's attention to packs if that gives what it gives of padded sequences; else leave it as it is.

    That is *tried* on a few tokens: the states must be the same, every layer must take its attention in blocks, and no
    token may have a part in what another sequence gives. Layers in which tokens touch in another way, as in recurrent
    ones, would mix sequences up.

    Args:
        model: A causal language model, its weights on a real device.
        head: Its head, where that is fused with the loss.
    """
    if reason := _known_obstacle(model.config.get_text_config()):
        return Packability(0, reason)
    training = model.training
    model.eval()
    try:
        found = _try(model, head)
    except torch.OutOfMemoryError:
        raise  # not for what the model is
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        found = Packability(0, f"{type(model).__name__} does not take one: {error}")
    model.train(training)
    if found.longest == 0:
        leave_attention(model)
    return found


def _known_obstacle(config: PreTrainedConfig) -> str:
    """Return what a few tokens would not show."""
    if others := set(getattr(config, "layer_types", None) or ()) - _LAYERS:
        return f"it has layers of type {', '.join(sorted(others))}"
    if getattr(config, "attn_temperature_tuning", None):
        return "attn_temperature_tuning scales tokens by their place in a row"
    return ""


def _try(model: PreTrainedModel, head: LinearHead | None) -> Packability:
    groups = _probe(model.device)
    with torch.no_grad():
        own = padded_states(model, head, groups)
        if not redirect_attention(model):
            return Packability(0, f"attn_implementation={attention_name(model)!r} knows no packs")
        redirected = padded_states(model, head, groups)
    row = pack(groups)
    witness = _Witness(**{f.name: getattr(row, f.name) for f in fields(Pack)})
    packed, touched = _with_touched_places(model, head, witness)
    config = model.config.get_text_config()
    if len(witness.windows) != config.num_hidden_layers:
        return Packability(0, f"only {len(witness.windows)} of its {config.num_hidden_layers} layers are attention")
    if any(places - allowed for places, allowed in zip(touched, _PLACES, strict=True)):
        return Packability(0, f"{type(model).__name__} would let one sequence into another")
    if not _alike(model, redirected, own) or not _alike(model, packed, own):
        return Packability(0, f"{type(model).__name__} gives other states on one")
    limits = {name: getattr(config, name, None) for name in _WINDOWS}
    # A window that a layer does not name to its attention function is only in the mask, which a pack replaces.
    unseen = {name: limit for name, limit in limits.items() if limit and limit not in witness.windows}
    name = min(unseen, key=unseen.__getitem__, default=None)
    return Packability() if name is None else Packability(unseen[name], f"{name}={unseen[name]}")


@torch.enable_grad()
def _with_touched_places(model: PreTrainedModel, head: LinearHead | None, row: Pack) -> tuple[Tensor, list[set[int]]]:
    """Return the states of a pack, and for each sequence the places from which a gradient reaches its own.

    A gradient of exactly zero is proof in any precision, where a difference would have to be told from rounding.
    """
    embedded: list[Tensor] = []

    def watch(_: object, __: object, output: Tensor) -> Tensor:
        embedded.append(output.detach().requires_grad_())
        return embedded[-1]

    hook = model.get_input_embeddings().register_forward_hook(watch)
    try:
        states = packed_states(model, head, row)
    finally:
        hook.remove()
    uneven = torch.arange(states.shape[1], device=states.device).cos()  # norms would take the gradient of a plain sum
    touched = []
    for part in states.split([len(response) for response in _RESPONSES]):
        (gradient,) = torch.autograd.grad((part.float() * uneven).sum(), embedded, retain_graph=True)
        touched.append(set(gradient[0].abs().sum(dim=-1).nonzero().squeeze(1).tolist()))
    return states.detach(), touched


def _alike(model: PreTrainedModel, states: Tensor, own: Tensor) -> bool:
    # Half precision rounds to 2^-8; in 8 bits tokens share the columns that are kept exact.
    exact = own.dtype in (torch.float32, torch.float64) and not getattr(model, "is_loaded_in_8bit", False)
    difference = (states - own).float().norm(dim=1)
    return bool((difference <= (1e-4 if exact else 5e-2) * own.float().norm(dim=1)).all())


@dataclass(frozen=True)
class _Witness(Pack):
    """Notes which window each layer asks for."""

    windows: list[int | None] = field(default_factory=list)

    @override
    def mask(self, number: int, window: int | None, dtype: torch.dtype, causal_is_implied: bool) -> Tensor | None:
        if number == 0:
            self.windows.append(window)
        return super().mask(number, window, dtype, causal_is_implied)


def _probe(device: torch.device) -> GroupBatch:
    """Return two groups; the sequences of one share their prompt and the first token of their responses."""
    rows = [prompt + response for prompt, response in zip(_PROMPTS, _RESPONSES, strict=True)]
    width = max(map(len, rows))
    position = torch.arange(width, device=device)
    lengths, prompts = (torch.tensor([len(row) for row in of], device=device)[:, None] for of in (rows, _PROMPTS))
    numbers = torch.tensor(_GROUPS, device=device)
    return GroupBatch(
        input_ids=torch.tensor([row + [0] * (width - len(row)) for row in rows], device=device),
        attention_mask=position < lengths,
        response_mask=(position < lengths) & (position >= prompts),
        group_index=numbers,
        source=numbers,
        rewards=numbers,
        advantages=numbers,
        finished=numbers.bool(),
    )
