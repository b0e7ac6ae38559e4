"""Sequences in one row without padding, and attention among them."""

from lightning_gft.lm.packing.attention import PackedAttention
from lightning_gft.lm.packing.block import Block
from lightning_gft.lm.packing.prefixes import input_lengths, shared_prefixes
from lightning_gft.lm.packing.row import Pack, pack

__all__ = ["Block", "Pack", "PackedAttention", "input_lengths", "pack", "shared_prefixes"]
