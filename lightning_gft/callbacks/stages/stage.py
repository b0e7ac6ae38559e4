"""The settings of a stage: its parts, its optimizer and its length."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Literal, get_args

from lightning_gft.advantages import AdvantageEstimator
from lightning_gft.checks import check_choice, check_count, check_kind, check_number
from lightning_gft.errors import GFTTypeError, GFTValueError
from lightning_gft.losses import GroupLoss
from lightning_gft.optimization.optimizer import OptimizerFn
from lightning_gft.rewards import Reward, RewardTotal
from lightning_gft.sampler import GroupSampler
from lightning_gft.schedules import Schedule, SchedulerFn, as_schedule
from lightning_gft.sources import ResponseSource
from lightning_gft.training import StageParts

Mode = Literal["max", "min"]
Reference = Literal["run", "stage"]


@dataclass(frozen=True)
class Until:
    """Ends a stage when a validation figure stops improving.

    Args:
        monitor: Name of the figure in the logs, such as ``val/pass@8``.
        mode: Whether higher (``"max"``) or lower (``"min"``) values are better.
        patience: Number of consecutive validations without a better value that end the stage.
        min_delta: Least difference from the best value that counts as better; it must be exceeded.

    Raises:
        ValueError: If a value lies outside its range.
        TypeError: If a value is of another type.

    Example:
        >>> until = Until("val/pass@8", min_delta=0.01)
        >>> until.is_better(0.52, than=0.5), until.is_better(0.505, than=0.5)
        (True, False)
    """

    monitor: str
    mode: Mode = "max"
    patience: int = 1
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        check_kind("monitor", self.monitor, str, "'val/pass@8'")
        check_choice("mode", self.mode, get_args(Mode), of="Until")
        object.__setattr__(self, "patience", check_count("patience", self.patience, of="Until"))
        object.__setattr__(self, "min_delta", check_number("min_delta", self.min_delta, least=0, of="Until"))

    def is_better(self, value: float, than: float | None) -> bool:
        """Return whether a value improves on the best one so far, ``None`` for the first value; NaN never improves."""
        if than is None:
            return not math.isnan(value)
        return value > than + self.min_delta if self.mode == "max" else value < than - self.min_delta


@dataclass(frozen=True, eq=False)
class Stage:
    """Settings of a stage. The module supplies each part that is omitted or null.

    The loss of each stage starts without state, even if an earlier stage used the same.

    Args:
        loss: The objective.
        sources: Sources of the responses; they determine the group size and the temperature.
        rewards: Rewards by name, which score each response.
        advantage: Computes advantages from the rewards of a group.
        num_groups: Prompts are sampled until this many groups have rewards that differ. If omitted, a loss that uses
            advantages takes the module's number; other losses train on all prompts.
        optimizer: A new optimizer, without state. If omitted, the previous stage's continues with its state; the
            first stage takes the module's.
        reset_optimizer: Whether an optimizer that continues from the previous stage loses its state.
        learning_rate: Learning rate of all weights, in place of the optimizer's own.
        lr_scheduler: Learning-rate schedule over the stage; without a length of its own it lasts as long as the stage.
            If omitted, the module's schedule starts again.
        updates_per_batch: Optimizer steps on each batch of groups.
        reference: Reference policy of the loss: the policy at the start of the run (``"run"``) or of this stage
            (``"stage"``).
        max_steps: Length of the stage in optimizer steps.
        max_epochs: Length of the stage in epochs, counted as their number of batches from its first one.
        until: Ends the stage by a validation figure.
        total: Combines the rewards of a response into one number.

    Example:
        >>> from lightning_gft import SFTLoss
        >>> Stage(loss=SFTLoss(), learning_rate=1e-4, max_steps=100).max_steps
        100
    """

    loss: GroupLoss | None = None
    sources: dict[str, ResponseSource] | None = None
    rewards: dict[str, Reward] | None = None
    advantage: AdvantageEstimator | None = None
    num_groups: int | None = None
    optimizer: OptimizerFn | None = None
    reset_optimizer: bool = False
    learning_rate: float | None = None
    lr_scheduler: Schedule | SchedulerFn | None = None
    updates_per_batch: int | None = None
    reference: Reference = "run"
    max_steps: int | None = None
    max_epochs: int | None = None
    until: Until | None = None
    total: RewardTotal | None = None

    def check(self) -> None:
        """Raise an error if the settings cannot work.

        Raises:
            ValueError: If a value is out of range, or the stage has no length.
            TypeError: If a value has another type.
        """
        for field in ("max_steps", "max_epochs", "updates_per_batch"):
            if (count := getattr(self, field)) is not None:
                check_count(field, count)
        if self.max_steps is None and self.max_epochs is None and self.until is None:
            raise GFTValueError("`max_steps`: expected a length, got none; set max_steps, max_epochs or until")
        if self.learning_rate is not None:
            check_number("learning_rate", self.learning_rate, above=0)
        check_choice("reference", self.reference, get_args(Reference))
        if self.until is not None:
            check_kind("until", self.until, Until, "Until('val/pass@8')")
        if self.loss is not None:
            check_kind("loss", self.loss, GroupLoss, "GFTLoss()")
        if self.optimizer is not None and not callable(self.optimizer):
            raise GFTTypeError(
                "`optimizer`: expected a function from parameters to an optimizer, got "
                f"{type(self.optimizer).__name__}; give one such as partial(AdamW, lr=1e-5)"
            )
        if self.lr_scheduler is not None:
            as_schedule(self.lr_scheduler)

    @property
    def keeps_optimizer(self) -> bool:
        """Whether the optimizer of the previous stage continues with its state."""
        return self.optimizer is None and not self.reset_optimizer

    @property
    def sets_optimizer(self) -> bool:
        """Whether the stage sets the optimizer, its state or its learning rate."""
        given = (self.optimizer, self.learning_rate, self.lr_scheduler)
        return self.reset_optimizer or any(setting is not None for setting in given)

    def parts(self, loss: GroupLoss, sampler: GroupSampler) -> StageParts:
        """Return the parts that the stage trains with.

        Args:
            loss: The module's loss, for a stage without one.
            sampler: The module's sampler, whose parts complete the stage's.
        """
        loss = copy.deepcopy(self.loss or loss)  # without state from earlier fits
        num_groups = self.num_groups
        if num_groups is None and "advantages" in loss.needs():
            num_groups = sampler.num_groups
        given = self.sources, self.rewards, self.advantage
        if any(part is not None for part in (*given, self.total)) or num_groups != sampler.num_groups:
            sampler = sampler.with_parts(*given, num_groups, self.total)
        return StageParts(loss, sampler, None if self.until is None else self.until.monitor)

    def num_steps(self, epoch_batches: float, updates_per_batch: int) -> int | None:
        """Return the most optimizer steps of the stage, or ``None`` if only a figure ends it.

        Args:
            epoch_batches: Batches of an epoch; infinite for data without an end.
            updates_per_batch: Optimizer steps that the stage takes on each batch.

        Raises:
            ValueError: If ``max_epochs`` is given, but the data has no end.
        """
        lengths = [] if self.max_steps is None else [self.max_steps]
        if self.max_epochs is not None:
            if math.isinf(epoch_batches):
                raise GFTValueError(
                    "`max_epochs`: expected data of a known length, got data without an end; set max_steps"
                )
            lengths.append(int(epoch_batches) * self.max_epochs * updates_per_batch)
        return min(lengths, default=None)
