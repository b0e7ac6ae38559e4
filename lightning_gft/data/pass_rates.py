"""Selecting rows that are neither too easy nor too hard, by the rewards of stored responses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from lightning.pytorch.utilities import rank_zero_info
from typing_extensions import override

from lightning_gft.checks import check_choice, check_count, check_number, did_you_mean
from lightning_gft.data.columns import Row
from lightning_gft.data.filters import RowFilter
from lightning_gft.errors import GFTValueError
from lightning_gft.stored import Origin, StoredGroups, to_json

Unknown = Literal["keep", "drop"]


class PassRateFilter(RowFilter):
    """Keeps the rows whose share of right stored responses is between ``least`` and ``most``.

    A prompt that the policy always or never answers right gives groups whose rewards do not differ. Such groups cost
    compute, but the policy learns nothing from them. ``lightning-gft predict`` writes the groups. A row is matched by
    its content, whatever its position in the data is now; equal rows share their responses.

    Args:
        groups: Folder of stored groups.
        reward: Name of the reward that tells which responses are right; null uses the total.
        least: Smallest share of right responses. A row below it is too hard.
        most: Largest share of right responses. A row above it is too easy.
        min_responses: Number of responses below which a row is unknown.
        unknown: Whether to ``keep`` or ``drop`` unknown rows.
        source: Source of the responses that count: the policy itself, the teacher or the expert.
        correct_reward: Smallest reward of a right response.

    Raises:
        ValueError: If a share or a choice is out of range; when rows are selected, if the folder holds no groups,
            none of the rows, or no such reward, or if no row is left.
        TypeError: If a number is of another type.

    Example:
        >>> PassRateFilter("groups", reward="accuracy", least=0.2, most=0.8).unknown
        'keep'
    """

    def __init__(
        self,
        groups: str,
        reward: str | None = None,
        least: float = 0.1,
        most: float = 0.9,
        min_responses: int = 1,
        unknown: Unknown = "keep",
        source: Origin = "self",
        correct_reward: float = 1.0,
    ) -> None:
        of = type(self).__name__
        self.groups, self.reward = groups, reward
        self.least = check_number("least", least, least=0, most=1, of=of)
        self.most = check_number("most", most, least=self.least, most=1, of=of)
        self.min_responses = check_count("min_responses", min_responses, of=of)
        self.correct_reward = check_number("correct_reward", correct_reward, of=of)
        for field, value, choices in (("unknown", unknown, Unknown), ("source", source, Origin)):
            check_choice(field, value, get_args(choices), of)
        self.unknown, self.source = unknown, source

    @override
    def keep(self, rows: Sequence[Row]) -> list[bool]:
        right = self._right_by_row()
        known = [right.get(_content(row), []) for row in rows]
        if not any(known):
            self._check_columns(rows)
            raise GFTValueError(
                f"`groups` of PassRateFilter: expected {self.source} responses to rows of these data, got none in "
                f"{self.groups}; give the groups that were sampled for them, or another `source`"
            )
        verdicts = [self._verdict(of_row) for of_row in known]
        kept = [verdict == "fit" or (verdict == "unknown" and self.unknown == "keep") for verdict in verdicts]
        counts = (
            f"{sum(kept)} of {len(rows)} rows kept by their pass rates in {self.groups}: "
            f"{verdicts.count('easy')} too easy (above {self.most:g}), {verdicts.count('hard')} too hard (below "
            f"{self.least:g}), {verdicts.count('unknown')} unknown ({'kept' if self.unknown == 'keep' else 'dropped'})"
        )
        if not any(kept):
            raise GFTValueError(f"`keep`: expected rows to train on, got {counts}; widen its range")
        rank_zero_info(f"train data: {counts}")
        return kept

    def _verdict(self, right: Sequence[bool]) -> Literal["fit", "easy", "hard", "unknown"]:
        if len(right) < self.min_responses:
            return "unknown"
        share = sum(right) / len(right)
        return "hard" if share < self.least else "easy" if share > self.most else "fit"

    def _check_columns(self, rows: Sequence[Row]) -> None:
        """Raise an error if rows differ from those of the groups in their columns, all of which have to match."""
        of_data, of_groups = {*rows[0]}, {*StoredGroups(Path(self.groups))[0].columns}
        if of_data != of_groups:
            more, fewer = (", ".join(sorted(names)) for names in (of_data - of_groups, of_groups - of_data))
            raise GFTValueError(
                f"`groups` of PassRateFilter: expected rows with the columns of the groups in {self.groups}, got rows "
                f"{' and '.join(filter(None, [more and f'with {more} more', fewer and f'without {fewer}']))}; give the "
                "data that the groups were sampled for"
            )

    def _right_by_row(self) -> dict[str, list[bool]]:
        """Return for each row with stored responses which of them are right."""
        stored = StoredGroups(Path(self.groups))
        names = stored.info.rewards
        if self.reward is not None and self.reward not in names:
            raise GFTValueError(
                f"`reward` of PassRateFilter: expected one of those in {self.groups}, {', '.join(names)}, got "
                f"{self.reward!r}" + (did_you_mean(self.reward, names) or "; name one of them")
            )
        right: dict[str, list[bool]] = defaultdict(list)
        for shard in stored.shards:
            for group in stored.read(shard):
                responses = [response for response in group.responses if response.source == self.source]
                scores = [each.reward if self.reward is None else each.rewards[self.reward] for each in responses]
                applying = [score for score in scores if score is not None]
                right[_content(group.columns)] += [score >= self.correct_reward for score in applying]
        return right


def _content(row: Row) -> str:
    """Return a text that is equal for rows with equal values, in any order of their columns."""
    return to_json({name: row[name] for name in sorted(row)})
