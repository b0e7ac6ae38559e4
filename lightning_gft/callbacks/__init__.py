"""Callbacks for Lightning's Trainer."""

from lightning_gft.callbacks.export import HuggingFaceExport
from lightning_gft.callbacks.group_writer import GroupWriter

__all__ = ["GroupWriter", "HuggingFaceExport"]
