"""Objectives, each a coefficient per token."""

from lightning_gft.losses.base import GroupLoss, check_known
from lightning_gft.losses.cispo import CISPOLoss
from lightning_gft.losses.dft import DFTLoss
from lightning_gft.losses.distillation import DistillationLoss
from lightning_gft.losses.gft import GFTLoss
from lightning_gft.losses.grpo import GRPOLoss
from lightning_gft.losses.gspo import GSPOLoss
from lightning_gft.losses.psft import PSFTLoss
from lightning_gft.losses.sft import SFTLoss

__all__ = [
    "CISPOLoss",
    "DFTLoss",
    "DistillationLoss",
    "GFTLoss",
    "GRPOLoss",
    "GSPOLoss",
    "GroupLoss",
    "PSFTLoss",
    "SFTLoss",
    "check_known",
]
