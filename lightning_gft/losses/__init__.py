"""Objectives, each of which is a coefficient per token."""

from lightning_gft.losses.anchored_sft import AnchoredSFTLoss
from lightning_gft.losses.base import GroupLoss, check_known
from lightning_gft.losses.chord import CHORDLoss
from lightning_gft.losses.chord_phi import CHORDPhiLoss
from lightning_gft.losses.cispo import CISPOLoss
from lightning_gft.losses.correction import ImportanceCorrection
from lightning_gft.losses.dft import DFTLoss
from lightning_gft.losses.distillation import DistillationLoss
from lightning_gft.losses.eaft import EAFTLoss
from lightning_gft.losses.gft import GFTLoss
from lightning_gft.losses.grpo import GRPOLoss
from lightning_gft.losses.gspo import GSPOLoss
from lightning_gft.losses.hpt import HPTLoss
from lightning_gft.losses.infosft import InfoSFTLoss
from lightning_gft.losses.iw_sft import IWSFTLoss
from lightning_gft.losses.kl import KLPenalty
from lightning_gft.losses.luffy import LUFFYLoss
from lightning_gft.losses.mixed import MixedLoss
from lightning_gft.losses.psft import PSFTLoss
from lightning_gft.losses.rft import RFTLoss
from lightning_gft.losses.routed import RoutedLoss
from lightning_gft.losses.sft import SFTLoss
from lightning_gft.losses.wrapper import LossWrapper

__all__ = [
    "AnchoredSFTLoss",
    "CHORDLoss",
    "CHORDPhiLoss",
    "CISPOLoss",
    "DFTLoss",
    "DistillationLoss",
    "EAFTLoss",
    "GFTLoss",
    "GRPOLoss",
    "GSPOLoss",
    "GroupLoss",
    "HPTLoss",
    "IWSFTLoss",
    "ImportanceCorrection",
    "InfoSFTLoss",
    "KLPenalty",
    "LUFFYLoss",
    "LossWrapper",
    "MixedLoss",
    "PSFTLoss",
    "RFTLoss",
    "RoutedLoss",
    "SFTLoss",
    "check_known",
]
