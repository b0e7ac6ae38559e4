"""Rules about validation."""

from __future__ import annotations

from math import sqrt

from typing_extensions import override

from lightning_gft.callbacks.advice.history import History
from lightning_gft.callbacks.advice.rule import Finding, Rule

_ACCURACY, _ERROR = "val/greedy_accuracy", "val/greedy_accuracy_stderr"


class AccuracyFell(Rule):
    """Greedy accuracy is below the stage's best validation by more than 3 standard errors and a tenth."""

    name = "accuracy_fell"
    figures = (_ACCURACY, _ERROR)

    @override
    def find(self, history: History) -> Finding | None:
        accuracies, errors = (history.recent(name) for name in self.figures)
        if not accuracies or not errors:
            return None
        best, now = max(accuracies), accuracies[-1]
        if best - now <= max(3 * sqrt(2) * max(errors), 0.1 * best):
            return None
        kept = history.has(_ACCURACY)
        keep = "use" if kept else "keep"
        how = "that ModelCheckpoint keeps" if kept else f"(ModelCheckpoint with monitor={_ACCURACY}, mode=max)"
        return Finding(
            {_ACCURACY: now},
            f"{_ACCURACY} fell from {best:.3g} to {now:.3g}; {keep} the best weights {how}, train for fewer steps, or "
            "lower the learning rate",
        )
