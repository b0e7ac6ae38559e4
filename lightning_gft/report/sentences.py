"""What a run did, in one plain sentence."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_gft.report.measures import Measure, Reference, measure, reference
from lightning_gft.report.runs import Run
from lightning_gft.report.scales import figure
from lightning_gft.report.text import isolated

_LESS, _MORE = 0.8, 1.25
"""Entropies within these bounds of each other are much the same."""


def sentence(run: Run, runs: Sequence[Run], draws: Sequence[int]) -> str:
    """Return the sentence, in HTML.

    Args:
        run: The run.
        runs: All of them; the first may be what it began from.
        draws: Values of ``k`` in ``pass@k`` that are compared.
    """
    name = f"<b>{isolated(run.name)}</b>"
    now = measure(run, "greedy_accuracy")
    if now is None:
        return f"{name} has not finished a validation yet."
    against = reference(run, runs)
    then = measure(against.run, "greedy_accuracy", "", against.place) if against else None
    if against is None or then is None:
        return f"{name} {_alone(run, now, draws)}."
    clauses = [_accuracy(now, then, against), *_diversity(run, against, draws), *_forgetting(run, against)]
    return f"{name} {'; '.join(clauses)}."


def _alone(run: Run, now: Measure, draws: Sequence[int]) -> str:
    """Return what there is to say of a run that is compared with nothing."""
    said = [f"answers {_percent(now)} of prompts correctly (greedy)"]
    for k in draws:
        if solved := measure(run, f"pass@{k}"):
            said.append(f"solves {_percent(solved)} with at least one of {k} samples")
    for name in run.datasets:
        if other := measure(run, "greedy_accuracy", name):
            said.append(f"{_percent(other)} of {isolated(name)}")
    return ", ".join(said)


def _accuracy(now: Measure, then: Measure, against: Reference) -> str:
    if now.same(then):
        about = "left greedy accuracy about where it was" if against.is_start else "is about as accurate (greedy)"
        return f"{about} {_pair(now, then, against)}"
    rose = now.value > then.value
    verb = ("raised" if rose else "lowered") if against.is_start else ("has higher" if rose else "has lower")
    return f"{verb} greedy accuracy {_pair(now, then, against)}"


def _diversity(run: Run, against: Reference, draws: Sequence[int]) -> list[str]:
    said = []
    entropy, before = measure(run, "entropy"), measure(against.run, "entropy", "", against.place)
    if entropy and before and before.value > 0:
        ratio = entropy.value / before.value
        how = "less varied" if ratio < _LESS else "more varied" if ratio > _MORE else "about as varied"
        said.append(f"its samples are {how} (entropy {_from(entropy, before, against)})")
    for k in draws:
        right, was = measure(run, f"mean@{k}"), measure(against.run, f"mean@{k}", "", against.place)
        if right and was:
            often = "as often" if right.same(was) else "more often" if right.value > was.value else "less often"
            said.append(f"a sample is right {often} (mean@{k} {_from(right, was, against)})")
        solved, other = measure(run, f"pass@{k}"), measure(against.run, f"pass@{k}", "", against.place)
        if solved and other:
            much = "as many" if solved.same(other) else "more" if solved.value > other.value else "fewer"
            said.append(f"{k} samples solve {much} prompts (pass@{k} {_from(solved, other, against)})")
    return said


def _forgetting(run: Run, against: Reference) -> list[str]:
    said = []
    for name in run.datasets:
        now, then = (
            measure(run, "greedy_accuracy", name),
            measure(against.run, "greedy_accuracy", name, against.place),
        )
        if not now or not then:
            continue
        if against.is_start:
            verb = "kept" if now.same(then) else "improved" if now.value > then.value else "lost some of"
        else:
            verb = "is as good at" if now.same(then) else "is better at" if now.value > then.value else "is worse at"
        said.append(f"{verb} {isolated(name)} ({_from(now, then, against)})")
    return said


def _pair(now: Measure, then: Measure, against: Reference) -> str:
    if against.is_start:
        return f"({_from(now, then, against)})" if now.same(then) else f"from {_percent(then)} to {_percent(now)}"
    return (
        f"({_from(now, then, against)})"
        if now.same(then)
        else f"than {isolated(against.name)} ({_from(now, then, against)})"
    )


def _from(now: Measure, then: Measure, against: Reference) -> str:
    if against.is_start:
        return f"{figure(then.value)} → {figure(now.value)}"
    return f"{figure(now.value)} against {figure(then.value)}"


def _percent(share: Measure) -> str:
    return f"{share.value:.0%}" if 0.1 <= share.value <= 0.99 else f"{share.value:.1%}"
