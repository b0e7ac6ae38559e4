"""Sequences in one row without padding, in which sequences share the tokens that they begin with.

Everything in a transformer except attention treats tokens one by one. There, the sequences of a batch can follow one
another in one row of ``S`` slots, and a token of a common prefix needs only one slot. Attention is computed in *blocks*
of sequences of similar length, see :class:`~lightning_gft.lm.packing.attention.PackedAttention`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel
from typing_extensions import override

from lightning_gft.functional.head.linear_head import LinearHead
from lightning_gft.lm.attention import Attending, attend_through
from lightning_gft.lm.micro_batch import MicroBatch, body_of
from lightning_gft.lm.packing.attention import lay_out
from lightning_gft.lm.packing.prefixes import SharedPrefixes, sort_by_prefix
from lightning_gft.types import Sequences

_MOST_KEYS = 8
"""Keys that a pack may gather per token of the budget, since every sequence gathers the keys of its whole prefix. A
group of eight with a long prompt comes near it."""


class Pack(MicroBatch):
    """A row of ``S`` slots with one token each.

    Args:
        index: ``[m]``, see :class:`~lightning_gft.lm.micro_batch.MicroBatch`.
        targets: ``[m]``, see :class:`~lightning_gft.lm.micro_batch.MicroBatch`.
        input_ids: ``[1, S]``, the token in each slot.
        position_ids: ``[1, S]``, each token's position in its own sequence.
        predictors: ``[m]``, slots of the tokens whose states predict the response tokens.
        attention: Computes attention among the slots.
    """

    def __init__(
        self,
        index: Tensor,
        targets: Tensor,
        input_ids: Tensor,
        position_ids: Tensor,
        predictors: Tensor,
        attention: Attending,
    ) -> None:
        super().__init__(index, targets)
        self.input_ids = input_ids
        self.position_ids = position_ids
        self.predictors = predictors
        self.attention = attention

    @property
    @override
    def num_tokens(self) -> int:
        return self.input_ids.shape[1]

    @override
    def states(self, model: PreTrainedModel, head: LinearHead | None) -> Tensor:
        body, output = body_of(model, head)
        result = body(
            input_ids=self.input_ids,
            position_ids=self.position_ids,
            use_cache=False,
            **attend_through(model, self.attention, self.input_ids.device),
        )
        states: Tensor = getattr(result, output).squeeze(0).index_select(0, self.predictors)
        return states


def split_into_packs(sequences: Sequences, rows: Tensor, max_tokens: int) -> list[Pack]:
    """Pack some sequences of a batch into as many packs as the budget requires.

    Sequences of one pack have similar lengths, so that it has few blocks, but those that share tokens stay together.

    Args:
        sequences: The whole batch.
        rows: ``[N]``, the numbers of the sequences to pack, on the CPU.
        max_tokens: Most tokens of a pack, which gathers at most eight times as many keys. A pack of one sequence may
            exceed it.
    """
    prefixes = sort_by_prefix(sequences, rows)
    lengths, shared = prefixes.lengths.tolist(), prefixes.shared.tolist()
    packs: list[list[int]] = []
    tokens = keys = 0
    for n in _families_by_length(lengths, shared):
        tokens, keys = tokens + lengths[n] - shared[n], keys + lengths[n]
        if not packs or tokens > max_tokens or keys > _MOST_KEYS * max_tokens:
            packs.append([])
            tokens = keys = lengths[n]  # the new pack does not hold the shared tokens yet
        packs[-1].append(n)
    device = sequences.input_ids.device
    return [_pack(prefixes, torch.tensor(chosen, device="cpu"), device) for chosen in packs]


def _families_by_length(lengths: list[int], shared: list[int]) -> list[int]:
    families: list[list[int]] = []
    for n, count in enumerate(shared):
        if not count:
            families.append([])
        families[-1].append(n)
    families.sort(key=lambda family: max(lengths[n] for n in family))
    return [n for family in families for n in family]


def _pack(prefixes: SharedPrefixes, rows: Tensor, device: torch.device) -> Pack:
    lengths, shared = prefixes.lengths[rows], prefixes.shared[rows].index_fill(0, torch.zeros_like(rows[:1]), 0)
    width = int(lengths.max())
    ids, numbers, mask = (
        tensor[rows, : width + 1] for tensor in (prefixes.input_ids, prefixes.token_numbers, prefixes.response_mask)
    )
    column = torch.arange(ids.shape[1], device="cpu")
    written = (column >= shared[:, None]) & (column < lengths[:, None])
    # Slots are numbered as they are written. A shared token takes the slot of the last one written in its column.
    slots = (written.flatten().cumsum(0) - 1).view_as(written).masked_fill_(~written, 0).cummax(dim=0).values
    predicted = mask[:, 1:]
    return Pack(
        index=numbers[:, 1:][predicted].to(device),
        targets=ids[:, 1:][predicted].to(device),
        input_ids=ids[written].unsqueeze(0).to(device),
        position_ids=column.expand_as(written)[written].unsqueeze(0).to(device),
        predictors=slots[:, :-1][predicted].to(device),
        attention=lay_out(slots, shared, lengths, device),
    )
