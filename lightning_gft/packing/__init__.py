"""Sequences in one row without padding, and attention among them."""

from lightning_gft.packing.attention import PackedAttention
from lightning_gft.packing.row import Block, Pack, pack, prompt_lengths, prompt_owners

__all__ = ["Block", "Pack", "PackedAttention", "pack", "prompt_lengths", "prompt_owners"]
