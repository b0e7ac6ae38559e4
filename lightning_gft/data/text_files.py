"""Files of text: opened as their name says, and where one is not UTF-8."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

from lightning_gft.checks import shorten

COMPRESSED: dict[str, Callable[[Path], object]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
"""What opens a file that is compressed, by the end of its name."""


def open_bytes(path: Path) -> BinaryIO:
    """Open a file to read its bytes, decompressed where its name says so.

    Args:
        path: The file.

    Raises:
        OSError: If it cannot be opened.
    """
    return cast("BinaryIO", COMPRESSED[path.suffix](path)) if path.suffix in COMPRESSED else path.open("rb")


def encoding_fault(file: BinaryIO, name: str) -> str:
    """Return what an error says of a file that is not UTF-8 text.

    Args:
        file: The file, which may have been read in part.
        name: What the error calls it.
    """
    file.seek(0)
    for number, line in enumerate(file, start=1):
        if number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return f"{name}: expected UTF-8 text, got UTF-16; save the file as UTF-8"
        try:
            line.decode()
        except UnicodeDecodeError as error:
            shown = shorten(line[max(0, error.start - 20) :], 40)
            return f"line {number} of {name}: expected UTF-8 text, got {shown}; save the file as UTF-8"
    return f"{name}: expected UTF-8 text; save the file as UTF-8"
