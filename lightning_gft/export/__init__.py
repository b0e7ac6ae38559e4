"""Writing a trained policy in Hugging Face's format, with a card that tells how it came about."""

from lightning_gft.export.card import describe, model_card
from lightning_gft.export.writing import Dtype, check_target, export_policy, move_to_free

__all__ = ["Dtype", "check_target", "describe", "export_policy", "model_card", "move_to_free"]
