"""The interface of all parts of a run: reporting figures, and beginning and ending with the run."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor
from typing_extensions import override


class Part:
    """A reward, total of rewards, source, engine, advantage estimator or loss of a run.

    A part overrides only the methods that it needs.
    A run calls :meth:`setup` before it first uses a part, and :meth:`close` when it ends, also after an error.
    It calls :meth:`compute` and :meth:`reset` after every training step, on every rank.

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
        """End what the part has started; a later :meth:`setup` or call may start it again."""

    def compute(self) -> dict[str, Tensor | float]:
        """Return the counts since :meth:`reset`, by names that become log keys.

        A plain number is a count of this rank, and is summed over ranks. A tensor is logged unchanged: it comes from a
        torchmetrics metric of the part, which has reduced it already and moves to the policy's device with the run.
        """
        return {}

    def reset(self) -> None:
        """Reset the counts."""


class CompositePart(Part):
    """A part made of other parts, which are set up, reported, reset and closed with it.

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
