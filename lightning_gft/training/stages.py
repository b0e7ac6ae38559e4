"""The stages of a run: their losses and samplers."""

from __future__ import annotations

from typing import Any, NamedTuple

from lightning_gft.losses import GroupLoss
from lightning_gft.parts import Part
from lightning_gft.sampler import GroupSampler
from lightning_gft.training.life import parts_of


class StageParts(NamedTuple):
    """The parts of one stage of a run.

    Args:
        loss: Objective of the stage.
        sampler: Sampler of the stage.
        monitor: Name of the validation figure that ends the stage; ``None`` if no figure does.
    """

    loss: GroupLoss
    sampler: GroupSampler
    monitor: str | None = None


class Stages:
    """All stages of a run, whose parts are checked before the run begins.

    Args:
        module: The :class:`~lightning_gft.GFTLitModule` that trains.

    Attributes:
        planned: The stages by name, in order; empty in a run without a schedule of stages.
    """

    def __init__(self, module: Any) -> None:
        self._module = module
        self.planned: dict[str, StageParts] = {}

    def all(self) -> dict[str, StageParts]:
        """Return the stages by name; a run without a schedule has one stage, whose name is empty."""
        return self.planned or {"": StageParts(self._module.loss, self._module.sampler)}

    def samplers(self) -> list[GroupSampler]:
        """Return the samplers of all stages."""
        return [sampler for _, sampler, _ in self.all().values()]

    def fewest_updates(self) -> int:
        """Return the fewest optimizer steps on a batch that the run is known to take; a stage may set its own."""
        return 1 if self.planned else int(self._module.updates_per_batch)

    def parts(self) -> dict[str, Part]:
        """Return the parts of all stages, by stage and prefix."""
        return {
            f"{stage}/{prefix}": part
            for stage, (loss, sampler, _) in self.all().items()
            for prefix, part in parts_of(sampler, loss).items()
        }
