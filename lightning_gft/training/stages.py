"""What a run trains by, one after another."""

from __future__ import annotations

from typing import Any, NamedTuple

from lightning_gft.losses import GroupLoss
from lightning_gft.parts import Part
from lightning_gft.sampler import GroupSampler
from lightning_gft.training.life import parts_of


class StageParts(NamedTuple):
    """What one stage of a run trains by.

    Args:
        loss: The objective.
        sampler: Builds and scores groups.
        monitor: Name of the figure of validation that ends it, if one does.
    """

    loss: GroupLoss
    sampler: GroupSampler
    monitor: str | None = None


class Stages:
    """All that a run will train by: it is looked at before the run begins.

    Args:
        module: A :class:`~lightning_gft.GFTLitModule`.

    Attributes:
        planned: The stages by name, in their order; empty in a run that keeps its loss and its sampler.
    """

    def __init__(self, module: Any) -> None:
        self._module = module
        self.planned: dict[str, StageParts] = {}

    def all(self) -> dict[str, StageParts]:
        """Return the stages by name; a run without has one, whose name is empty."""
        return self.planned or {"": StageParts(self._module.loss, self._module.sampler)}

    def samplers(self) -> list[GroupSampler]:
        """Return the samplers of all stages."""
        return [sampler for _, sampler, _ in self.all().values()]

    def parts(self) -> dict[str, Part]:
        """Return the parts of all stages."""
        return {
            f"{stage}/{prefix}": part
            for stage, (loss, sampler, _) in self.all().items()
            for prefix, part in parts_of(sampler, loss).items()
        }
