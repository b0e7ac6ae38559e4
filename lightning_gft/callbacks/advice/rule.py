"""The base class of the rules of advice."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

from typing_extensions import override

from lightning_gft.callbacks.advice.history import History


class Finding(NamedTuple):
    """The result of a rule.

    Args:
        figures: The figures behind it, as means over the rule's window.
        text: One line with the figure and a remedy.
    """

    figures: Mapping[str, float]
    text: str


def either(*remedies: str) -> str:
    """Return the remedies that are not empty, as alternatives.

    Example:
        >>> either("raise it", "", "lower it", "leave it out")
        'raise it, lower it, or leave it out'
    """
    *others, last = filter(None, remedies)
    return f"{', '.join(others)}, or {last}" if others else last


class Rule(ABC):
    """Detects one problem of training; has no state of its own.

    Attributes:
        name: Name by which settings ignore the rule or let it stop a run, and under which advice is recorded.
        figures: Names of the figures that the rule reads; ``*`` matches any part. A run that does not log them never
            evaluates the rule.
        after: Rules that report a cause of the same problem; once one of them has spoken, this one is silent.
        explains: Whether the rule only explains a figure, so that it stops a run only if it is named.
    """

    name: ClassVar[str]
    figures: ClassVar[tuple[str, ...]]
    after: ClassVar[tuple[str, ...]] = ()
    explains: ClassVar[bool] = False

    @abstractmethod
    def find(self, history: History) -> Finding | None:
        """Return the finding, or ``None`` if the rule detects no problem.

        Args:
            history: The figures of the stage so far, including the newest step or validation.
        """


class LimitRule(Rule):
    """Speaks when the mean of its first figure reaches a limit.

    Attributes:
        steps: Number of values in the mean.
        limit: Least mean at which the rule speaks.
        text: One line, with ``{value}`` for the mean and ``{remedies}`` for :meth:`remedies`.
    """

    steps: ClassVar[int]
    limit: ClassVar[float]
    text: ClassVar[str]

    @override
    def find(self, history: History) -> Finding | None:
        name = self.figures[0]
        value = history.mean(name, self.steps)
        if value is None or value < self.limit:
            return None
        return Finding({name: value}, self.text.format(value=value, remedies=self.remedies(history)))

    def remedies(self, history: History) -> str:
        """Return the remedies that depend on what the run has already."""
        return ""
