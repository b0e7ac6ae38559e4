"""What becomes of responses that a reward could not judge: counted, warned of, and scored as its user says."""

from __future__ import annotations

import warnings

from lightning_gft.rewards.pool import Failed, FailureKind
from lightning_gft.rewards.text import shown

_FIGURES: dict[FailureKind, str] = {"timeout": "timeouts", "memory": "memory", "crash": "crashes", "error": "errors"}


class FailureCounts:
    """Counts of failures by their kind, and a warning of the first of each kind in a run.

    Args:
        of: The reward, as the warning names it.

    Example:
        >>> counts = FailureCounts("NumericReward")
        >>> counts.compute()
        {'timeouts': 0, 'memory': 0, 'crashes': 0, 'errors': 0}
    """

    def __init__(self, of: str) -> None:
        self.of = of
        self._warned: set[FailureKind] = set()
        self.reset()

    def begin(self) -> None:
        """Warn anew, as a run begins."""
        self._warned.clear()

    def add(self, failure: Failed, response: str, failed_score: float) -> None:
        """Count a response that scores ``failed_score``."""
        figure = _FIGURES[failure.kind]
        self._counts[figure] += 1
        if failure.kind not in self._warned:
            self._warned.add(failure.kind)
            warnings.warn(  # on every rank: another rank may never see one
                f"{self.of} {failure.message}; the response scores failed_score={failed_score:g}, and every such one "
                f"is counted as {figure}. response: {shown(response)}",
                stacklevel=2,
            )

    def compute(self) -> dict[str, float]:
        """Return the counts since :meth:`reset`."""
        return dict(self._counts)

    def reset(self) -> None:
        """Begin to count anew."""
        self._counts: dict[str, float] = dict.fromkeys(_FIGURES.values(), 0)
