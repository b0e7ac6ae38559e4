"""Results of the doctor's trials."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lightning_gft.checks import cut
from lightning_gft.errors import GFTError

_LONG = 300
"""Characters of an error to show."""


@dataclass(frozen=True)
class Finding:
    """The result of a trial.

    Args:
        name: Name of the trial.
        works: Whether it succeeded.
        detail: A version, a size, or the reason of a failure.
        remedy: Advice to print after a failure.
        needed: Whether the package cannot work without it.
    """

    name: str
    works: bool
    detail: str
    remedy: str = ""
    needed: bool = False

    def lines(self) -> list[str]:
        """Return the finding as lines for a terminal.

        Example:
            >>> Finding("gpu", False, "none available", "install a driver").lines()
            ['  no     gpu: none available', '         -> install a driver']
        """
        mark = "ok" if self.works else "error" if self.needed else "no"
        remedy = [f"         -> {self.remedy}"] if self.remedy and not self.works else []
        return [f"  {mark:<6} {self.name}: {self.detail}", *remedy]


def tried(name: str, attempt: Callable[[], str], remedy: str, needed: bool = False) -> Finding:
    """Run a trial and return its result; an exception is a failure, with its message as the detail.

    Args:
        name: As in :class:`Finding`; so are ``remedy`` and ``needed``.
        attempt: Returns the detail of a success, or raises any exception.

    Example:
        >>> tried("half", lambda: str(1 / 2), "").detail, tried("none", lambda: str(1 / 0), "").detail
        ('0.5', 'ZeroDivisionError: division by zero')
    """
    try:
        return Finding(name, True, attempt(), remedy, needed)
    except Exception as error:  # noqa: BLE001 (any failure is a result)
        reason = str(error) if isinstance(error, GFTError) else f"{type(error).__name__}: {error}"
        return Finding(name, False, cut(" ".join(reason.split()), _LONG), remedy, needed)
