"""Before a run: data, callbacks, monitored figures and Trainer options are checked, and callbacks made to fit."""

from lightning_gft.preflight.callbacks import prepare_callbacks
from lightning_gft.preflight.data import check_data, warn_of_unused
from lightning_gft.preflight.monitors import check_monitors, evaluation_names, logged_names, training_names
from lightning_gft.preflight.trainer import (
    check_not_compiled,
    check_precision,
    check_trainer_options,
    warn_of_slow_bfloat16,
)

__all__ = [
    "check_data",
    "check_monitors",
    "check_not_compiled",
    "check_precision",
    "check_trainer_options",
    "evaluation_names",
    "logged_names",
    "prepare_callbacks",
    "training_names",
    "warn_of_slow_bfloat16",
    "warn_of_unused",
]
