"""Checkpoints: what they hold, that they are whole, and how a run goes on from one."""

from lightning_gft.checkpoint.describing import describe, describe_parts
from lightning_gft.checkpoint.files import AtomicCheckpointIO, check_checkpoint, load_checkpoint, read_notes
from lightning_gft.checkpoint.frozen import weight_digests
from lightning_gft.checkpoint.module import MEASURED_AT, ResumableModule
from lightning_gft.checkpoint.resharding import join_state
from lightning_gft.checkpoint.settings import setting_differences

__all__ = [
    "MEASURED_AT",
    "AtomicCheckpointIO",
    "ResumableModule",
    "check_checkpoint",
    "describe",
    "describe_parts",
    "join_state",
    "load_checkpoint",
    "read_notes",
    "setting_differences",
    "weight_digests",
]
