"""Trains with several objectives in one fit, one after another."""

from lightning_gft.callbacks.stages.schedule import StageSchedule
from lightning_gft.callbacks.stages.stage import Stage, Until

__all__ = ["Stage", "StageSchedule", "Until"]
