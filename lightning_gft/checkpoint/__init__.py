"""Checkpoints: their contents, their integrity, and how a run resumes from one."""

from lightning_gft.checkpoint.describing import (
    describe,
    describe_parts,
    describe_sampler,
    describe_scoring,
    identify,
    stage_row,
    without_stages,
)
from lightning_gft.checkpoint.files import AtomicCheckpointIO, check_checkpoint, load_checkpoint, read_notes
from lightning_gft.checkpoint.frozen import weight_digests
from lightning_gft.checkpoint.loading import load_module
from lightning_gft.checkpoint.optimizer import OptimizerChoice
from lightning_gft.checkpoint.resharding import join_state
from lightning_gft.checkpoint.run import MEASURED_AT, Run
from lightning_gft.checkpoint.settings import setting_differences

__all__ = [
    "MEASURED_AT",
    "AtomicCheckpointIO",
    "OptimizerChoice",
    "Run",
    "check_checkpoint",
    "describe",
    "describe_parts",
    "describe_sampler",
    "describe_scoring",
    "identify",
    "join_state",
    "load_checkpoint",
    "load_module",
    "read_notes",
    "setting_differences",
    "stage_row",
    "weight_digests",
    "without_stages",
]
