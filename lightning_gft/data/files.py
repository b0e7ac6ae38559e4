"""Files of rows, by their format."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from lightning_gft.checks import shorten
from lightning_gft.data.csv_rows import read_csv
from lightning_gft.data.json_rows import read_json
from lightning_gft.data.tables import ListTable, ParquetTable, Table
from lightning_gft.errors import GFTValueError

KINDS = {
    **{".json": "json", ".jsonl": "json", ".ndjson": "json"},
    **{".csv": "csv", ".tsv": "csv", ".parquet": "parquet"},
}
"""Formats of the files that can be read, by suffix."""
COMPRESSED: dict[str, Callable[[Path], object]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
"""Functions that open compressed files, by suffix."""


def suffix_of(path: Path) -> str:
    """Return the suffix that gives a file's format, without that of its compression.

    Example:
        >>> suffix_of(Path("rows.jsonl.gz"))
        '.jsonl'
    """
    inner = Path(path.stem) if path.suffix in COMPRESSED else path
    return inner.suffix.lower()


@dataclass(frozen=True)
class DataFile:
    """A file of rows, its format, and the options of its reader."""

    path: Path
    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, path: Path) -> DataFile:
        """Return a file whose format and options follow from its name."""
        suffix = suffix_of(path)
        return cls(path, KINDS[suffix], {"delimiter": "\t"} if suffix == ".tsv" else {})

    def read(self) -> Table:
        """Return the rows of the file."""
        name = self.path.name
        if self.path.stat().st_size == 0:
            raise GFTValueError(f"{name}: expected rows, got an empty file; write the rows into it again")
        if self.kind == "parquet":
            return ParquetTable(self.path)
        try:
            with self._open() as file:
                return ListTable((read_json if self.kind == "json" else read_csv)(file, name, **self.options))
        except UnicodeDecodeError as error:
            raise GFTValueError(f"{self._encoding_fault()}; save the file as UTF-8") from error
        except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # raised by the system, not by decompression
            raise GFTValueError(
                f"{name}: expected a whole compressed file, got one that cannot be read ({error}); copy it again"
            ) from error

    def _open(self) -> BinaryIO:
        decompress = COMPRESSED.get(self.path.suffix)
        return self.path.open("rb") if decompress is None else cast("BinaryIO", decompress(self.path))

    def _encoding_fault(self) -> str:
        """Return an error message with the line that is not UTF-8 text."""
        with self._open() as file:
            for number, line in enumerate(file, start=1):
                if number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    return f"{self.path.name}: expected UTF-8 text, got UTF-16"
                try:
                    line.decode()
                except UnicodeDecodeError as error:
                    shown = shorten(line[max(0, error.start - 20) :], 40)
                    return f"line {number} of {self.path.name}: expected UTF-8 text, got {shown}"
        return f"{self.path.name}: expected UTF-8 text"
