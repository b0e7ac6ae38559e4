"""A folder of groups as a table of the rows that they were sampled for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_warn
from typing_extensions import override

from lightning_gft.data.columns import Row, StoredRow
from lightning_gft.data.tables import Table
from lightning_gft.errors import GFTValueError
from lightning_gft.stored import StoredGroups


class StoredTable(Table):
    """The data's rows of stored groups, each with its group."""

    def __init__(self, folder: Path) -> None:
        self._groups = StoredGroups(folder)
        self.columns = list(self._groups[0].columns) if len(self._groups) else []
        wanted = self._groups.info.prompts
        if wanted is not None and len(self) < wanted:
            rank_zero_warn(
                f"{folder}: only {len(self)} of {wanted} prompts have groups; run the same prediction again for the "
                "others"
            )

    @override
    def __len__(self) -> int:
        return len(self._groups)

    @override
    def take(self, positions: Sequence[int]) -> list[Row]:
        groups = self._groups.take(positions)
        for position, group in zip(positions, groups, strict=True):
            if list(group.columns) != self.columns:
                raise GFTValueError(
                    f"row {position} (counting from 0): expected the columns {', '.join(self.columns)}, got "
                    f"{', '.join(group.columns)}; keep the groups of each data set in a folder of their own"
                )
        return [StoredRow(group, self._groups.info.tokenizer) for group in groups]
