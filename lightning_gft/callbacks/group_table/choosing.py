"""Chooses the groups of a batch, and their responses, to show."""

from __future__ import annotations

from collections.abc import Set
from typing import Literal, NamedTuple

from lightning_gft.checks import check_count
from lightning_gft.types import GroupBatch, Source

Responses = int | Literal["best_and_worst", "all"]
"""Responses of a group to show: a number of them, taken in turns from the best and the worst, or all."""

_BEST_AND_WORST = 2


class Choice(NamedTuple):
    """The part of a batch to show.

    Args:
        num_groups: Number of groups, from the first of the batch: a fair sample, independent of their rewards.
        responses: Number of responses of each group; ``None`` for all.
    """

    num_groups: int
    responses: int | None

    @classmethod
    def of(cls, num_groups: int, responses: Responses) -> Choice:
        """Return the choice for a callback's options.

        Raises:
            ValueError: If a number is below 1.
            TypeError: If a number is no whole number, or ``responses`` is another text.
        """
        of, remedy = "GroupTable", "keep=0 keeps none at all"
        num_groups = check_count("num_groups", num_groups, of=of, remedy=remedy)
        if responses == "all":
            return cls(num_groups, None)
        count = _BEST_AND_WORST if responses == "best_and_worst" else responses
        return cls(num_groups, check_count("responses", count, otherwise="best_and_worst or all", of=of, remedy=remedy))

    def rows(self, groups: GroupBatch, trained: Set[int] = frozenset()) -> list[list[int]]:
        """Return the rows of each chosen group, in their order in the batch.

        Args:
            groups: The groups, on any device.
            trained: Rows of the responses that the loss has trained on; they precede others with equal rewards.
        """
        of_group: dict[int, list[int]] = {}
        for row, group in enumerate(groups.group_index.tolist()):
            of_group.setdefault(group, []).append(row)
        rewards, sources = groups.rewards.tolist(), groups.source.tolist()
        return [
            self._responses(rows, {row: (rewards[row], row in trained, sources[row] == Source.SELF) for row in rows})
            for rows in [*of_group.values()][: self.num_groups]
        ]

    def _responses(self, rows: list[int], worth: dict[int, tuple[float, bool, bool]]) -> list[int]:
        """Return some rows of a group; among equal rewards, trained responses come first, then own samples."""
        if self.responses is None or self.responses >= len(rows):
            return rows
        left, chosen = list(rows), set()
        for number in range(self.responses):
            best = number % 2 == 0
            row = max(left, key=lambda row: (worth[row][0] if best else -worth[row][0], *worth[row][1:], -row))
            chosen.add(row)
            left.remove(row)
        return [row for row in rows if row in chosen]
