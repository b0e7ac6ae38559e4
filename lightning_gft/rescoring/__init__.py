"""Rescores stored groups with other rewards."""

from lightning_gft.rescoring.changes import Changes
from lightning_gft.rescoring.rescoring import rescore_folder

__all__ = ["Changes", "rescore_folder"]
