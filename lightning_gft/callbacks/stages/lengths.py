"""The lengths of stages, and the trainer's limits on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_warn

from lightning_gft.callbacks.stages.stage import Stage
from lightning_gft.errors import GFTValueError


@dataclass
class Progress:
    """Progress of a stage, as checkpoints store it.

    Args:
        stage: Name of the stage.
        step: Optimizer steps of the run before the stage.
        batch: Training batches of the run before the stage.
        epoch_batches: Batches of an epoch.
        best: Best value so far of the figure that ends the stage.
        waited: Validations since the best value.
        kept: Whether the checkpoint at the stage's end has been written.
        earlier: Descriptions of the earlier stages' parts.
    """

    stage: str
    step: int = 0
    batch: int = 0
    epoch_batches: float = 0
    best: float | None = None
    waited: int = 0
    kept: bool = False
    earlier: dict[str, str] = field(default_factory=dict)

    def is_over(self, stage: Stage, step: int, batch: int) -> bool:
        """Return whether a stage has reached its length.

        Args:
            stage: Settings of the stage named by :attr:`stage`.
            step: Optimizer steps of the run so far.
            batch: Training batches of the run so far.
        """
        return (
            (stage.max_steps is not None and step - self.step >= stage.max_steps)
            or (stage.max_epochs is not None and batch - self.batch >= stage.max_epochs * self.epoch_batches)
            or (stage.until is not None and self.waited >= stage.until.patience)
        )


def num_steps(stage: Stage, begun: Progress, trainer: Trainer, updates_per_batch: int) -> int:
    """Return the most optimizer steps that a stage can take: the length of its schedule.

    Args:
        stage: Settings of the stage.
        begun: The progress with which it began.
        trainer: A trainer that is about to fit, with its data attached; it may end the run before the stage.
        updates_per_batch: Optimizer steps that the stage takes on each batch.

    Raises:
        ValueError: If neither the stage nor the trainer has a known end.
    """
    trainer.fit_loop.setup_data()
    batches = trainer.num_training_batches
    known = [] if (own := stage.num_steps(batches, updates_per_batch)) is None else [own]
    if trainer.max_steps >= 0:
        known.append(trainer.max_steps - begun.step)
    if trainer.max_epochs not in (None, -1) and math.isfinite(batches):
        known.append((trainer.max_epochs * int(batches) - begun.batch) * updates_per_batch)
    if not known:
        raise GFTValueError(
            "`lr_scheduler`: expected a known length, got a schedule as long as the stage, which only a figure ends; "
            "set max_steps beside until, or give the schedule its own length"
        )
    return max(min(known), 1)


def warn_of_limit(stages: Mapping[str, Stage], trainer: Trainer, updates_per_batch: Callable[[str], int]) -> None:
    """Warn if the trainer certainly ends the run before its last stage is over.

    Args:
        stages: The stages by name, in their order.
        trainer: A trainer whose data is set up.
        updates_per_batch: Returns the optimizer steps that a stage, given by its name, takes on each batch.

    Raises:
        ValueError: If a stage lasts for a number of epochs, but the data has no end.
    """
    steps = batches = 0
    epoch = trainer.num_training_batches
    most_batches = math.inf if trainer.max_epochs in (None, -1) else trainer.max_epochs * epoch
    most_steps = math.inf if trainer.max_steps == -1 else trainer.max_steps
    for name, stage in stages.items():
        updates = updates_per_batch(name)
        most = stage.num_steps(epoch, updates)
        own = 0 if most is None or stage.until is not None else most
        steps, batches = steps + own, batches + math.ceil(own / updates)
        limit, value = ("max_steps", most_steps) if steps > most_steps else ("max_epochs", trainer.max_epochs)
        if steps > most_steps or batches > most_batches:
            rank_zero_warn(
                f"trainer.{limit}={value} ends the run before the stage {name} is over, which takes {steps} optimizer "
                f"steps of the stages; set trainer.{limit}: -1 and let the stages end the run"
            )
            return
