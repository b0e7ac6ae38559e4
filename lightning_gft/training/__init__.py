"""Training apart from sampling and scoring: updates, figures, guards, and the life cycle of parts."""

from lightning_gft.training.clock import RunClock
from lightning_gft.training.guards import UpdateGuard
from lightning_gft.training.life import PartsLife, abandon_draw, parts_of
from lightning_gft.training.look_ahead import batch_seed, drawing, prepare_ahead
from lightning_gft.training.measures import UPDATE_NAMES
from lightning_gft.training.plan import StepPlan, plan_step
from lightning_gft.training.rows import RUN_NAMES, Rows
from lightning_gft.training.sampler_checks import check_sampler, unused_sources
from lightning_gft.training.stages import StageParts, Stages
from lightning_gft.training.statistics import TrainingStatistics, UpdateFigures
from lightning_gft.training.updates import Updates

__all__ = [
    "RUN_NAMES",
    "UPDATE_NAMES",
    "PartsLife",
    "Rows",
    "RunClock",
    "StageParts",
    "Stages",
    "StepPlan",
    "TrainingStatistics",
    "UpdateFigures",
    "UpdateGuard",
    "Updates",
    "abandon_draw",
    "batch_seed",
    "check_sampler",
    "drawing",
    "parts_of",
    "plan_step",
    "prepare_ahead",
    "unused_sources",
]
