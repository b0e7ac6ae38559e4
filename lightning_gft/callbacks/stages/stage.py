"""What a stage is: its parts, its optimizer, and when it ends."""

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
    """Ends a stage when a figure of validation stops getting better.

    Args:
        monitor: Its name in the log, such as ``val/pass@8``.
        mode: Whether more (``"max"``) or less (``"min"``) is better.
        patience: This many validations of the stage in a row without a better value end it.
        min_delta: A value is better only if it is so by more than this.

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
        """Return whether a value is better than the best before it; ``None`` for the first, NaN never is."""
        if than is None:
            return not math.isnan(value)
        return value > than + self.min_delta if self.mode == "max" else value < than - self.min_delta


@dataclass(frozen=True, eq=False)
class Stage:
    """A stage of a run. A part that is left out, or null, is the module's own; a loss begins anew in each stage.

    Args:
        loss: The objective.
        sources: Where responses come from; group size and temperature are theirs.
        rewards: What a response is worth.
        advantage: Turns rewards into advantages.
        num_groups: Prompts are sampled only until this many groups have rewards that differ. If left out, it is the
            module's for a loss that uses advantages; other losses get all prompts.
        optimizer: A new optimizer, without state. If left out, that of the stage before stays with its state; that of
            the first stage is the module's.
        reset_optimizer: Whether the state of an optimizer that stays is forgotten.
        learning_rate: Of all weights, in the place of the optimizer's own.
        lr_scheduler: The learning rate over the stage: a length that it leaves out is the stage's. If left out, the
            module's, begun anew.
        updates_per_batch: Optimizer steps on each batch of groups.
        reference: Whether losses compare with the policy as it was when the run (``"run"``) or this stage
            (``"stage"``) began.
        max_steps: Optimizer steps of the stage.
        max_epochs: The stage sees as many batches as this many epochs have.
        until: Ends the stage by a figure of validation.
        total: Makes one number of a response's rewards.

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
        """Refuse settings that do not work.

        Raises:
            ValueError: If a value lies outside its range, or the stage has no length.
            TypeError: If a value is of another type.
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
        """Whether the optimizer of the stage before stays, with its state."""
        return self.optimizer is None and not self.reset_optimizer

    @property
    def sets_optimizer(self) -> bool:
        """Whether the stage says anything of optimizer and learning rate."""
        given = (self.optimizer, self.learning_rate, self.lr_scheduler)
        return self.reset_optimizer or any(setting is not None for setting in given)

    def parts(self, loss: GroupLoss, sampler: GroupSampler) -> StageParts:
        """Return what the stage trains by.

        Args:
            loss: The module's own.
            sampler: The module's own.
        """
        loss = copy.deepcopy(self.loss or loss)  # it begins anew, whatever fits there were before
        num_groups = self.num_groups
        if num_groups is None and "advantages" in loss.needs():
            num_groups = sampler.num_groups
        given = self.sources, self.rewards, self.advantage
        if any(part is not None for part in (*given, self.total)) or num_groups != sampler.num_groups:
            sampler = sampler.with_parts(*given, num_groups, self.total)
        return StageParts(loss, sampler, None if self.until is None else self.until.monitor)

    def num_steps(self, epoch_batches: float, updates_per_batch: int) -> int | None:
        """Return the most optimizer steps of the stage, ``None`` if only a figure ends it.

        Args:
            epoch_batches: Batches of an epoch.
            updates_per_batch: Those of the stage.

        Raises:
            ValueError: If ``max_epochs`` is given, and epochs have no end.
        """
        lengths = [] if self.max_steps is None else [self.max_steps]
        if self.max_epochs is not None:
            if math.isinf(epoch_batches):
                raise GFTValueError(
                    "`max_epochs`: expected data of a known length, got data without an end; set max_steps"
                )
            lengths.append(int(epoch_batches) * self.max_epochs * updates_per_batch)
        return min(lengths, default=None)
