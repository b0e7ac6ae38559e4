"""Callbacks for Lightning's Trainer."""

from lightning_gft.callbacks.advice import Advice
from lightning_gft.callbacks.export import HuggingFaceExport
from lightning_gft.callbacks.group_table import GroupTable
from lightning_gft.callbacks.group_writer import GroupWriter
from lightning_gft.callbacks.run_record import RunRecord, record_folder
from lightning_gft.callbacks.stages import Stage, StageSchedule, Until
from lightning_gft.callbacks.watchdog import Watchdog

__all__ = [
    "Advice",
    "GroupTable",
    "GroupWriter",
    "HuggingFaceExport",
    "RunRecord",
    "Stage",
    "StageSchedule",
    "Until",
    "Watchdog",
    "record_folder",
]
