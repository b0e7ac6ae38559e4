"""Finding out whether a model can be run on packs."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import torch
from torch import Tensor
from transformers import PreTrainedModel
from typing_extensions import override

from lightning_gft.packing import Pack, leave_packed_attention, pack, use_packed_attention
from lightning_gft.policy.scoring import packed_run, padded_run
from lightning_gft.types import GroupBatch

_WINDOWS = ("sliding_window", "attention_chunk_size")
_PROMPTS = [[0, 1], [0, 1], [2]]
_RESPONSES = [[2, 3, 1], [3], [3, 0]]
_GROUPS = [0, 0, 1]


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
        return f"sequences {which}are padded, and each runs through the model with a prompt of its own: {self.reason}"


def find_packability(model: PreTrainedModel) -> Packability:
    """Switch a model to packs if it gives the same states on them as on padded sequences; else leave it as it is.

    That is *tried* on a few tokens, and that every layer takes its attention in blocks is counted: layers in which
    tokens touch in another way, as in recurrent ones, would mix sequences up.

    Args:
        model: A causal language model, its weights on a real device.
    """
    if not use_packed_attention(model):
        return Packability(0, f"attn_implementation={model.config._attn_implementation!r} knows no packs")
    training = model.training
    model.eval()
    try:
        found = _try(model)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        found = Packability(0, f"{type(model).__name__} does not take one: {error}")
    model.train(training)
    if found.longest == 0:
        leave_packed_attention(model)
    return found


@torch.no_grad()
def _try(model: PreTrainedModel) -> Packability:
    groups = _probe(model.device)
    row = pack(groups)
    witness = _Witness(**{f.name: getattr(row, f.name) for f in fields(Pack)})
    padded = padded_run(model.base_model, groups, "last_hidden_state")
    packed = packed_run(model.base_model, witness, "last_hidden_state")
    config = model.config.get_text_config()
    if len(witness.windows) != config.num_hidden_layers:
        return Packability(0, f"only {len(witness.windows)} of its {config.num_hidden_layers} layers are attention")
    # Half precision rounds to 2^-8; in 8 bits tokens share the columns that are kept exact.
    exact = padded.dtype in (torch.float32, torch.float64) and not getattr(model, "is_loaded_in_8bit", False)
    if (packed - padded).abs().max() > (1e-4 if exact else 5e-2) * padded.abs().max():
        return Packability(0, f"{type(model).__name__} gives other states on one")
    limits = {name: getattr(config, name, None) for name in _WINDOWS}
    # A window that a layer does not name to its attention function is only in the mask, which a pack replaces.
    unseen = {name: limit for name, limit in limits.items() if limit and limit not in witness.windows}
    name = min(unseen, key=unseen.__getitem__, default=None)
    return Packability() if name is None else Packability(unseen[name], f"{name}={unseen[name]}")


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
    """Return two groups, one of which shares its prompt."""
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
