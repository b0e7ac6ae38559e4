"""Files of rows, by kind."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from lzma import LZMAError
from pathlib import Path
from typing import Any

from lightning_gft.data.csv_rows import read_csv
from lightning_gft.data.json_rows import read_json
from lightning_gft.data.tables import ListTable, ParquetTable, Table
from lightning_gft.data.text_files import COMPRESSED, open_bytes
from lightning_gft.errors import GFTValueError

KINDS = {
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
}
"""Kinds of files that are read, by the ends of their names."""


def suffix_of(path: Path) -> str:
    """Return the end of a file's name that says its kind, without that of a compressed file.

    Args:
        path: The file.

    Example:
        >>> suffix_of(Path("rows.jsonl.gz"))
        '.jsonl'
    """
    inner = Path(path.stem) if path.suffix in COMPRESSED else path
    return inner.suffix.lower()


@dataclass(frozen=True)
class DataFile:
    """A file of rows.

    Args:
        path: Where it is.
        kind: ``"json"``, ``"csv"`` or ``"parquet"``.
        options: Further arguments of what reads this kind.
    """

    path: Path
    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def read(self) -> Table:
        """Return the file's rows.

        Raises:
            ValueError: If the file is empty, damaged, or not of its kind.
            OSError: If it cannot be opened.
        """
        name = self.path.name
        if self.path.stat().st_size == 0:
            raise GFTValueError(f"{name}: expected rows, got an empty file; write the rows into it again")
        try:
            if self.kind == "parquet":
                return ParquetTable(self.path)
            with open_bytes(self.path) as file:
                read = read_json if self.kind == "json" else read_csv
                return ListTable(read(file, name, **self.options))
        except (EOFError, zlib.error, LZMAError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # from the system, not from what decompresses
            raise GFTValueError(
                f"{name}: expected a whole compressed file, got one that cannot be read ({error}); copy it again"
            ) from error


def file_of(path: Path) -> DataFile:
    """Return a file by its name alone.

    Args:
        path: A file whose name ends as one of :data:`KINDS`.
    """
    suffix = suffix_of(path)
    return DataFile(path, KINDS[suffix], {"delimiter": "\t"} if suffix == ".tsv" else {})
