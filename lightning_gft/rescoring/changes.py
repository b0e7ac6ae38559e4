"""Counts what other rewards change in stored groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lightning_gft.stored import StoredGroup, StoredResponse

TOTAL = "reward"
"""Name of the total, as among the columns of stored groups, unless a reward has that name."""
_LISTED = 100


@dataclass
class RewardChange:
    """Changes of one reward, or of the total.

    Args:
        responses: Numbers of responses to which it applies, before and now.
        total: Sums of its scores, before and now.
        up: Number of responses whose score rose by more than the tolerance.
        down: Number of responses whose score fell by more than the tolerance.
        same: Number of responses whose score stayed the same.
        other: Number of responses to which it applies only before or only now.
    """

    responses: list[int] = field(default_factory=lambda: [0, 0])
    total: list[float] = field(default_factory=lambda: [0.0, 0.0])
    up: int = 0
    down: int = 0
    same: int = 0
    other: int = 0

    def add(self, before: float | None, now: float | None, tolerance: float) -> None:
        """Count the scores of a response."""
        for when, score in enumerate((before, now)):
            if score is not None:
                self.responses[when] += 1
                self.total[when] += score
        if before is None or now is None:
            self.same += before is now
            self.other += before is not now
        elif abs(now - before) <= tolerance:
            self.same += 1
        elif now > before:
            self.up += 1
        else:
            self.down += 1

    def mean(self, when: int) -> float | None:
        """Return the mean before (0) or now (1), or ``None`` if the reward applies to no response."""
        return self.total[when] / self.responses[when] if self.responses[when] else None


@dataclass(frozen=True)
class Example:
    """A response whose total has changed.

    Args:
        row: Position of its prompt's row in the data; ``None`` if not known.
        prompt: Text of the prompt.
        text: Text of the response.
        reference: The reference of the row.
        before: Rewards before by name, with the total as ``reward``.
        now: Rewards now, in the same form.
    """

    row: str | None
    prompt: str
    text: str
    reference: Any
    before: dict[str, float | None]
    now: dict[str, float | None]


@dataclass
class Changes:
    """The differences between two scorings of the same groups.

    Args:
        tolerance: Largest difference of two scores that count as equal.
        groups: Number of compared groups.
        responses: Number of compared responses.
        rewards: Changes of the total, and of each reward that exists before and now, by name.
        only_before: Means of rewards that exist only before, by name.
        only_now: Means of rewards that exist only now, by name.
        differ_now: Number of groups whose totals differ now but did not before.
        equal_now: Number of groups whose totals differed before but do not now.
        differing: Numbers of groups whose totals differ, before and now.
        examples: The first responses whose total has changed.
        scored: Number of groups scored by this run; an earlier run has scored the others.
    """

    tolerance: float = 1e-6
    groups: int = 0
    responses: int = 0
    rewards: dict[str, RewardChange] = field(default_factory=dict)
    only_before: dict[str, RewardChange] = field(default_factory=dict)
    only_now: dict[str, RewardChange] = field(default_factory=dict)
    differ_now: int = 0
    equal_now: int = 0
    differing: list[int] = field(default_factory=lambda: [0, 0])
    examples: list[Example] = field(default_factory=list)
    scored: int = field(default=0, compare=False)

    def add(self, before: Sequence[StoredGroup], now: Sequence[StoredGroup]) -> None:
        """Compare groups with the same groups rescored.

        Args:
            before: The stored groups.
            now: The same groups with other rewards.
        """
        for old, new in zip(before, now, strict=True):
            self.groups += 1
            differed, differs = _differs(old), _differs(new)
            self.differing = [self.differing[0] + differed, self.differing[1] + differs]
            self.differ_now += differs and not differed
            self.equal_now += differed and not differs
            for one, other in zip(old.responses, new.responses, strict=True):
                self._compare(old, one, other)

    @property
    def changed(self) -> int:
        """Number of responses whose total has changed."""
        return self.responses - self.rewards[TOTAL].same if self.responses else 0

    def _compare(self, group: StoredGroup, before: StoredResponse, now: StoredResponse) -> None:
        self.responses += 1
        old, new = ({TOTAL: each.reward, **each.rewards} for each in (before, now))
        for name in {**old, **new}:
            kind = self.rewards if name in old and name in new else self.only_before if name in old else self.only_now
            kind.setdefault(name, RewardChange()).add(old.get(name), new.get(name), self.tolerance)
        if abs(before.reward - now.reward) > self.tolerance and len(self.examples) < _LISTED:
            self.examples.append(Example(group.row, group.prompt, now.completion, group.reference, old, new))


def _differs(group: StoredGroup) -> bool:
    return len({response.reward for response in group.responses}) > 1
