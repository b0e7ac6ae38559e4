"""Objectives, each a coefficient per token."""

from lightning_gft.losses.base import GroupLoss, check_known
from lightning_gft.losses.dft import DFTLoss
from lightning_gft.losses.distillation import DistillationLoss
from lightning_gft.losses.gft import GFTLoss
from lightning_gft.losses.sft import SFTLoss

__all__ = ["DFTLoss", "DistillationLoss", "GFTLoss", "GroupLoss", "SFTLoss", "check_known"]
