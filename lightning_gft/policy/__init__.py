"""The policy: loading a language model, and the one module that runs it."""

from lightning_gft.policy.adapters import LoRA
from lightning_gft.policy.checks import check_window
from lightning_gft.policy.in_memory import ModelPolicy
from lightning_gft.policy.loader import PolicyLoader
from lightning_gft.policy.policy import Policy
from lightning_gft.policy.pretrained import PretrainedPolicy
from lightning_gft.policy.quantization import Quantization
from lightning_gft.policy.scratch import ScratchPolicy
from lightning_gft.policy.weights import Dtype, quiet_report

__all__ = [
    "Dtype",
    "LoRA",
    "ModelPolicy",
    "Policy",
    "PolicyLoader",
    "PretrainedPolicy",
    "Quantization",
    "ScratchPolicy",
    "check_window",
    "quiet_report",
]
