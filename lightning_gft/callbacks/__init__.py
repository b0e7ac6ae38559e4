"""Callbacks for Lightning's Trainer."""

from lightning_gft.callbacks.export import HuggingFaceExport

__all__ = ["HuggingFaceExport"]
