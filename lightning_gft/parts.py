"""What every part of a run may do: report figures, and begin and end with the run."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor
from typing_extensions import override


class Part:
    """A reward, total of rewards, source, engine, advantage estimator or loss of a run.

    A part overrides what it needs, maybe nothing.
    A run calls :meth:`setup` before it first uses a part and :meth:`close` when it ends, however it ends.
    :meth:`compute` and :meth:`reset` come after every training step, on every rank.

    Example:
        >>> class Verifier(Part):
        ...     timeouts = 0
        ...     def compute(self):
        ...         return {"timeouts": self.timeouts}
        ...     def reset(self):
        ...         self.timeouts = 0
        >>> Verifier().compute()
        {'timeouts': 0}
    """

    def setup(self) -> None:
        """Start what the part needs, such as a server or worker processes."""

    def close(self) -> None:
        """End what the part has started; a later :meth:`setup` or call may start it anew."""

    def compute(self) -> dict[str, Tensor | float]:
        """Return what was counted since :meth:`reset`, by names that become log keys.

        A plain number is a count of this rank and is added up over ranks. A tensor is logged as it is: a torchmetrics
        metric that the part owns has reduced it already, and moves to the policy's device with the run.
        """
        return {}

    def reset(self) -> None:
        """Begin to count anew."""


class CompositePart(Part):
    """A part made of others, which begin, report, count anew and end with it.

    Example:
        >>> class Verifier(Part):
        ...     def compute(self):
        ...         return {"timeouts": 1}
        >>> class Judge(CompositePart):
        ...     def within(self):
        ...         return (Verifier(),)
        >>> Judge().compute()
        {'timeouts': 1}
    """

    @abstractmethod
    def within(self) -> Sequence[Part]:
        """Return the parts that this one is made of, with figures of different names."""

    @override
    def setup(self) -> None:
        for part in self.within():
            part.setup()

    @override
    def close(self) -> None:
        for part in self.within():
            part.close()

    @override
    def compute(self) -> dict[str, Tensor | float]:
        return {name: figure for part in self.within() for name, figure in part.compute().items()}

    @override
    def reset(self) -> None:
        for part in self.within():
            part.reset()
