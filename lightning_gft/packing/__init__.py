"""Sequences in one row without padding, and attention among them."""

from lightning_gft.packing.attention import leave_packed_attention, underlying_attention, use_packed_attention
from lightning_gft.packing.row import Block, Pack, pack, prompt_lengths, prompt_owners

__all__ = [
    "Block",
    "Pack",
    "leave_packed_attention",
    "pack",
    "prompt_lengths",
    "prompt_owners",
    "underlying_attention",
    "use_packed_attention",
]
