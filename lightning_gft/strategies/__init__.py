"""Training on several processes: which strategies there are, and where weights lie under each."""

from lightning_gft.strategies.fsdp2 import FSDP2Strategy
from lightning_gft.strategies.placing import check_strategy, load_policy

__all__ = ["FSDP2Strategy", "check_strategy", "load_policy"]
