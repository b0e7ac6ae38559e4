"""Exports a trained policy in Hugging Face's format, with a model card that describes its training."""

from lightning_gft.export.card import model_card
from lightning_gft.export.targets import check_target, check_writable_folder, move_to_free
from lightning_gft.export.whole import whole_policy
from lightning_gft.export.writing import export_policy

__all__ = [
    "check_target",
    "check_writable_folder",
    "export_policy",
    "model_card",
    "move_to_free",
    "whole_policy",
]
