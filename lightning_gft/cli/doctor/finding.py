"""What the doctor has found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lightning_gft.checks import cut
from lightning_gft.errors import GFTError

_LONG = 300
"""Characters of an error to show."""


@dataclass(frozen=True)
class Finding:
    """What was tried, and whether it works.

    Args:
        name: What was tried.
        works: Whether it works.
        detail: What was found: a version, a size, or the reason of a failure.
        remedy: How to make it work.
        needed: Whether nothing else works without it.
    """

    name: str
    works: bool
    detail: str
    remedy: str = ""
    needed: bool = False

    def lines(self) -> list[str]:
        """Return the finding as lines for a terminal.

        Example:
            >>> Finding("gpu", False, "none found", "install a driver").lines()
            ['  no     gpu: none found', '         -> install a driver']
        """
        mark = "ok" if self.works else "error" if self.needed else "no"
        remedy = [f"         -> {self.remedy}"] if self.remedy and not self.works else []
        return [f"  {mark:<6} {self.name}: {self.detail}", *remedy]


def tried(name: str, attempt: Callable[[], str], remedy: str, needed: bool = False) -> Finding:
    """Make an attempt and return what became of it.

    Args:
        name: What is tried.
        attempt: Returns what was found, or raises any error.
        remedy: How to make it work.
        needed: Whether nothing else works without it.

    Example:
        >>> tried("half", lambda: str(1 / 2), "").detail, tried("none", lambda: str(1 / 0), "").detail
        ('0.5', 'ZeroDivisionError: division by zero')
    """
    try:
        return Finding(name, True, attempt(), remedy, needed)
    except Exception as error:  # noqa: BLE001 (whatever it is, it is the finding)
        reason = str(error) if isinstance(error, GFTError) else f"{type(error).__name__}: {error}"
        return Finding(name, False, cut(" ".join(reason.split()), _LONG), remedy, needed)
