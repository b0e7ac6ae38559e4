"""Finding rows of the data whose responses cannot be scored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lightning_gft.rewards import Reward


def find_unfit(
    rewards: Mapping[str, Reward], references: Sequence[Any], rows: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[int, str, Exception]]:
    """Yield the index of each row that a reward cannot score, with a message and the reward's error.

    Args:
        rewards: Rewards by name; each checks all rows.
        references: The reference of each row, ``None`` where it has none.
        rows: All columns of each row.
    """
    for name, reward in rewards.items():
        reward.read_ahead(references)
        for position, (reference, row) in enumerate(zip(references, rows, strict=True)):
            try:
                reward.check_row(reference, row)
            except Exception as error:  # noqa: BLE001 (a user's reward may raise anything)
                yield position, f"reward {name!r} cannot score it: {error}", error
