"""Describes in words how a run differs from the evaluation it is compared with."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from lightning_gft.report.measures import Measure, Reference, measure
from lightning_gft.report.runs import Run
from lightning_gft.report.scales import figure, share
from lightning_gft.report.text import isolated

_LESS, _MORE = 0.8, 1.25
"""Ratios of entropies that count as about the same."""


class Comparison:
    """A run together with the evaluation it is compared with.

    Args:
        run: The run to describe.
        against: The evaluation to compare with.
        last: Step of the run's last validation.
    """

    def __init__(self, run: Run, against: Reference, last: int) -> None:
        self.run, self.against, self.last = run, against, last
        self._other = isolated(against.name)
        self._own = against.run is run
        self._changed = against.is_start or self._own
        """Whether training caused the differences, rather than a choice of another run."""

    def sentence(self, name: str, draws: Sequence[int]) -> str:
        """Return a sentence that begins with ``name``; ``draws`` are values of ``k`` in ``pass@k``."""
        datasets = dict.fromkeys([*self.run.datasets, *self.against.run.datasets])
        clauses = [self._accuracy(), *map(self._right, draws), self._diversity(draws), *map(self._skill, datasets)]
        return f"{self._when()}{name} {'; '.join(filter(None, clauses))}."

    def _when(self) -> str:
        if self._changed and not self.against.is_start:
            return f"From step {self.against.step} (its start was not measured) to step {self.last}, "
        word = "By" if self._changed else "At"
        return f"{word} step {self.last}, " if self.run.trained else ""

    def _accuracy(self) -> str:
        now, then = self._pair("greedy_accuracy")
        if now is None:
            return "was validated on other data only"
        if then is None or not (now.finite and then.finite):
            return f"has a {self._lone('greedy accuracy', now, then, share, that=True)}"
        change, pair = now.change(then), self._values(now, then, share)
        if not self._changed:
            how = ("about the same greedy accuracy as", "higher greedy accuracy than", "lower greedy accuracy than")
            step = f" at step {then.step}" if self.against.run.trained and then.step != now.step else ""
            return f"has {how[change]} {self._other}{step} ({pair})"
        if not change:
            return f"shows no clear change in greedy accuracy ({pair}{_chance(now, then)})"
        verb = "raised" if change > 0 else "lowered"
        whose = "" if self._own else f" ({self._other})"
        return f"{verb} greedy accuracy from {share(then.value)}{whose} to {share(now.value)}{self._at(now)}"

    def _right(self, k: int) -> str:
        now, then = self._pair(f"mean@{k}")
        if not (now and then and now.finite and then.finite):
            return ""  # the clause on diversity reports what was not measured
        often = ("about as often", "more often", "less often")[now.change(then)]
        return f"a sample is right {often} (mean@{k} {self._values(now, then, share)})"

    def _diversity(self, draws: Sequence[int]) -> str:
        told = ", and ".join(filter(None, [self._variety(), *map(self._solved, draws)]))
        return told and f"diversity: {told}"

    def _variety(self) -> str:
        now, then = self._pair("entropy")
        if now is None:
            return ""
        if then is None or not (now.finite and then.finite):
            return self._lone("entropy", now, then, figure)
        less, more = now.value < _LESS * then.value, now.value > _MORE * then.value
        how = "less" if less else "more" if more else "about as much"
        return f"its samples vary {how} (entropy {self._values(now, then, figure)})"

    def _solved(self, k: int) -> str:
        now, then = self._pair(f"pass@{k}")
        if now is None:
            return ""
        if then is None or not (now.finite and then.finite):
            return self._lone(f"pass@{k}", now, then, share)
        many = ("about as many", "more", "fewer")[now.change(then)]
        return f"{many} prompts are solved by one of {k} samples (pass@{k} {self._values(now, then, share)})"

    def _skill(self, dataset: str) -> str:
        """Return a clause about the accuracy on another data set."""
        now, then = self._pair("greedy_accuracy", dataset)
        title = isolated(dataset)
        if now is None:
            return f"{title} was not measured"
        if then is None or not (now.finite and then.finite):
            return self._lone(title, now, then, share)
        change, pair = now.change(then), self._values(now, then, share)
        if not change:
            return f"no clear {'change' if self._changed else 'difference'} on {title} ({pair}{_chance(now, then)})"
        if not self._changed:
            return f"it is {'better' if change > 0 else 'worse'} at {title} ({pair})"
        if change > 0:
            return f"it improved on {title}: {pair}"
        return f"it forgot {'most' if now.value < then.value / 2 else 'some'} of {title}: {pair}"

    def _pair(self, name: str, dataset: str = "") -> tuple[Measure | None, Measure | None]:
        return measure(self.run, name, dataset), measure(self.against.run, name, dataset, self.against.step)

    def _values(self, now: Measure, then: Measure, show: Callable[[float], str]) -> str:
        """Return two values: as a change from one to the other, or one against the other."""
        if self._changed:
            return f"{show(then.value)} → {show(now.value)}{self._at(now)}"
        return f"{show(now.value)}{self._at(now)} against {show(then.value)}"

    def _at(self, now: Measure) -> str:
        """Return the step of a figure unless it is that of the last validation."""
        return "" if now.step == self.last else f" at step {now.step}"

    def _lone(
        self, title: str, now: Measure, then: Measure | None, show: Callable[[float], str], that: bool = False
    ) -> str:
        """Return a value without a comparison, and the reason; ``that`` words it as a property of the run."""
        if not now.finite:
            return f"{title} {'that ' if that else ''}{odd(now)}{self._at(now)}"
        if then is None:
            start = "at the start" if self.against.is_start else f"at step {self.against.step}"
            why = f"not measured {start if self._changed else f'for {self._other}'}"
        else:
            why = f"that of {self._other} {odd(then)}"
        return f"{title} {'of ' if that else ''}{show(now.value)}{self._at(now)} ({why})"


def odd(value: Measure) -> str:
    """Return a phrase for a value that is not finite."""
    return "was not a number" if math.isnan(value.value) else "was infinite"


def _chance(now: Measure, then: Measure) -> str:
    """Return the largest difference that may be chance, in points."""
    noise = now.noise(then)
    return "" if noise is None else f", ±\u00a0{100 * noise:.{0 if noise >= 0.01 else 1}f}"
