"""Stored groups scored anew."""

from lightning_gft.rescoring.changes import Changes
from lightning_gft.rescoring.rescoring import rescore_folder

__all__ = ["Changes", "rescore_folder"]
