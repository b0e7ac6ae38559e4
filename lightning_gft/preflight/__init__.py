"""Checks data, callbacks, monitored figures and Trainer options before a run, and adapts callbacks to the module."""

from lightning_gft.preflight.data import can_score, find_faults
from lightning_gft.preflight.lengths import warn_of_short_limits, warn_of_short_samples
from lightning_gft.preflight.monitors import logged_names
from lightning_gft.preflight.run import check_fit, check_run, check_stages, check_tokenizer, prepare
from lightning_gft.preflight.trainer import warn_of_slow_bfloat16
from lightning_gft.preflight.unused import warn_of_unused, warn_of_unused_sources
from lightning_gft.preflight.validation import check_validation_interval, warn_of_no_validation_data

__all__ = [
    "can_score",
    "check_fit",
    "check_run",
    "check_stages",
    "check_tokenizer",
    "check_validation_interval",
    "find_faults",
    "logged_names",
    "prepare",
    "warn_of_no_validation_data",
    "warn_of_short_limits",
    "warn_of_short_samples",
    "warn_of_slow_bfloat16",
    "warn_of_unused",
    "warn_of_unused_sources",
]
