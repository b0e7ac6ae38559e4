"""The policy: loading a language model, and the one module that runs it."""

from lightning_gft.policy.embedded import ArithmeticPolicy
from lightning_gft.policy.loader import PolicyLoader, PretrainedPolicy, ScratchPolicy
from lightning_gft.policy.policy import Policy, check_window

__all__ = ["ArithmeticPolicy", "Policy", "PolicyLoader", "PretrainedPolicy", "ScratchPolicy", "check_window"]
