"""Sequences in one row without padding, and the attention within each of them."""

from lightning_gft.lm.packing.pack import Pack, split_into_packs

__all__ = ["Pack", "split_into_packs"]
