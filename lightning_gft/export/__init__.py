"""Writing a trained policy in Hugging Face's format, with a card that tells how it came about."""

from lightning_gft.export.card import describe, model_card
from lightning_gft.export.targets import check_target, move_to_free
from lightning_gft.export.whole import WholePolicy, whole_policy
from lightning_gft.export.writing import Dtype, check_merge, export_policy

__all__ = [
    "Dtype",
    "WholePolicy",
    "check_merge",
    "check_target",
    "describe",
    "export_policy",
    "model_card",
    "move_to_free",
    "whole_policy",
]
