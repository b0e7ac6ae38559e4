"""The life cycle of a run's parts: setup before use, figures during the run, and a single close at its end."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Collection, Mapping
from numbers import Real
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torchmetrics import Metric
from typing_extensions import override

from lightning_gft.checks import shorten
from lightning_gft.errors import GFTTypeError, GFTValueError
from lightning_gft.losses import GroupLoss
from lightning_gft.parts import Part
from lightning_gft.phases import phase
from lightning_gft.policy import Policy
from lightning_gft.rollout import RolloutEngine
from lightning_gft.sampler import GroupSampler


def parts_of(sampler: GroupSampler, loss: GroupLoss, engine: RolloutEngine | None = None) -> dict[str, Part]:
    """Return the parts of a run by the prefix of their figures' names; the prefix of a loss is empty.

    Args:
        sampler: The sampler, whose sources, rewards, total and advantage estimator are parts.
        loss: The objective, which is a part itself.
        engine: The rollout engine of the policy, once the policy is loaded.
    """
    return {
        "": loss,
        **sampler.scorers(),
        **{f"sources/{name}": source for name, source in sampler.sources.items()},
        **({} if engine is None else {"engine": engine}),
    }


class PartsLife(Callback):
    """Sets up each part before its first use, and closes it once when the run ends, also by an exception or a signal.

    Example:
        >>> class Counted(Part):
        ...     calls = 0
        ...     def compute(self):
        ...         return {"calls": self.calls}
        >>> life, part = PartsLife(), Counted()
        >>> life.begin({"engine": part}, torch.device("cpu"))
        >>> part.calls += 2
        >>> life.figures({"engine": part})
        {'engine/calls': 2.0}
        >>> life.end()
    """

    def __init__(self) -> None:
        self._open: list[Part] = []

    def begin(self, parts: Mapping[str, Part], device: torch.device) -> None:
        """Set up the parts that are new, and move their metrics to a device.

        Args:
            parts: All parts that are in use now, by prefix.
            device: Device of the policy, which collectives use.
        """
        for part in parts.values():
            if not any(part is known for known in self._open):
                self._open.append(part)  # before setup, so that a part whose setup fails is closed, too
                part.setup()
            whole = [part] if isinstance(part, nn.Module) else []  # a loss, which a new stage may bring in during a run
            for module in (*whole, *(value for value in vars(part).values() if isinstance(value, Metric))):
                module.to(device)

    def figures(self, parts: Mapping[str, Part], taken: Collection[str] = ()) -> dict[str, Tensor | float]:
        """Return the figures of all parts, reduced over ranks, and reset the parts. Call it on all ranks.

        Args:
            parts: All parts that are in use now, by the prefixes of :func:`parts_of`.
            taken: Names of figures that the run itself reports.

        Raises:
            TypeError: If a part reports anything other than numbers and scalar tensors by name.
            ValueError: If two figures have the same name, or ranks report different tensors.
        """
        own: dict[str, Tensor | float] = {}
        for prefix, part in parts.items():
            where = f"`{type(part).__name__}.compute`"
            for name, value in _reported(where, part).items():
                key = f"{prefix}/{name}" if prefix else name
                if key in own or key in taken:
                    raise GFTValueError(f"{where}: expected a new name, got {key!r}; rename it")
                own[key] = value
        counts = {name: float(value) for name, value in own.items() if not isinstance(value, Tensor)}
        for part in parts.values():
            part.reset()
        tensors = {name: value for name, value in own.items() if isinstance(value, Tensor)}
        return {**tensors, **_added_up(counts, sorted(tensors))}

    def reset(self) -> None:
        """Reset the counts of every part that was set up."""
        for part in self._open:
            part.reset()

    def end(self) -> None:
        """Close every part that was set up, also if closing another one fails."""
        while self._open:
            part = self._open.pop()
            try:
                part.close()
            except Exception as error:  # noqa: BLE001 (must hide neither the run's result nor its own error)
                warnings.warn(f"`{type(part).__name__}.close`: failed, the part is left open: {error!r}", stacklevel=2)

    @override
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._end_run(pl_module)

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._end_run(pl_module)

    def _end_run(self, module: LightningModule) -> None:
        abandon_draw(module)  # before its engine is closed, so that it does not look for a server that has ended
        self.end()


def abandon_draw(module: LightningModule) -> None:
    """End the draw that the policy of a module, if it is loaded, has begun ahead; all ranks call it together."""
    if isinstance(policy := getattr(module, "policy", None), Policy):
        policy.draws.give_up()


def _reported(where: str, part: Part) -> Mapping[str, Tensor | float]:
    figures: Any = part.compute()
    if not isinstance(figures, Mapping):
        raise GFTTypeError(f"{where}: expected figures by name, got {shorten(figures)}; return a dict, even if empty")
    for name, value in figures.items():
        if not isinstance(name, str) or not name:
            raise GFTTypeError(f"{where}: expected texts as names, got {name!r}; name every figure by a text")
        if not (isinstance(value, Real) or (isinstance(value, Tensor) and value.numel() == 1)):
            raise GFTTypeError(
                f"{where}: expected a number or a scalar tensor for {name!r}, got {shorten(value)}; return one of these"
            )
    return figures


def _added_up(counts: dict[str, float], tensors: list[str]) -> dict[str, float]:
    """Return counts summed over ranks, whose names may differ by rank; ``tensors`` have been reduced before."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return counts
    ranks: list[Any] = [None] * torch.distributed.get_world_size()
    with phase("collective"):  # a few bytes per step
        torch.distributed.all_gather_object(ranks, (counts, zlib.crc32("/".join(tensors).encode())))
    if len({names for _, names in ranks}) > 1:
        raise GFTValueError(
            f"`compute`: expected the same tensors on all ranks, got {tensors} on this one and others elsewhere; "
            "report zeros on ranks without values"
        )
    names = dict.fromkeys(name for own, _ in ranks for name in own)
    return {name: sum(own.get(name, 0.0) for own, _ in ranks) for name in names}
