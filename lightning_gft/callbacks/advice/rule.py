"""What a rule of advice is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

from typing_extensions import override

from lightning_gft.callbacks.advice.history import History


class Finding(NamedTuple):
    """What a rule has found.

    Args:
        figures: What it goes by, as means over the rule's window.
        text: One line, with the figure and what to try.
    """

    figures: Mapping[str, float]
    text: str


class Rule(ABC):
    """Looks for one thing that goes wrong in training; has no state of its own.

    Attributes:
        name: Under which it is ignored, recorded, and asked to stop a run.
        figures: Names of the figures that it reads, where ``*`` stands for any part. A run that does not log them
            never hears of the rule.
        after: Rules that tell the cause of the same thing: once one of them has spoken, this one is silent.
        explains: Whether nothing is wrong, so that no run is stopped for it unless it is named.
    """

    name: ClassVar[str]
    figures: ClassVar[tuple[str, ...]]
    after: ClassVar[tuple[str, ...]] = ()
    explains: ClassVar[bool] = False

    @abstractmethod
    def find(self, history: History) -> Finding | None:
        """Return what there is to say, if there is.

        Args:
            history: The figures of the stage so far, those of the newest step or validation included.
        """


class LimitRule(Rule):
    """Speaks when the mean of a figure reaches a limit.

    Attributes:
        steps: Over which the mean is taken.
        limit: Least mean at which the rule speaks.
        text: One line, with ``{value}`` for the mean.
    """

    steps: ClassVar[int]
    limit: ClassVar[float]
    text: ClassVar[str]

    @override
    def find(self, history: History) -> Finding | None:
        (name,) = self.figures
        value = history.mean(name, self.steps)
        if value is None or value < self.limit:
            return None
        return Finding({name: value}, self.text.format(value=value))
