"""Before a run: data, callbacks, monitored figures and Trainer options are checked, and callbacks made to fit."""

from lightning_gft.preflight.callbacks import prepare_callbacks
from lightning_gft.preflight.monitors import logged_names
from lightning_gft.preflight.run import check_run
from lightning_gft.preflight.trainer import check_trainer_options, warn_of_slow_bfloat16

__all__ = ["check_run", "check_trainer_options", "logged_names", "prepare_callbacks", "warn_of_slow_bfloat16"]
