"""What every part of a run may do: report figures, and begin and end with the run."""

from __future__ import annotations

from torch import Tensor


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
