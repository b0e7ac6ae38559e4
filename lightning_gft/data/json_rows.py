"""Rows from JSON as they are written: texts, numbers, nested keys and keys that some rows lack."""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Iterator
from decimal import Context, Decimal
from typing import Any, BinaryIO

from lightning_gft.checks import shorten
from lightning_gft.data.columns import Row
from lightning_gft.data.text_files import encoding_fault
from lightning_gft.errors import GFTValueError

_SPACE = re.compile(r"[ \t\r\n]*")
_SHORT = 16
"""A decimal number of so many characters has at most 15 digits, all of which a float keeps."""
_LINES = "a JSON object a line, or a list of objects"


def read_json(file: BinaryIO, name: str, field: str | None = None) -> list[Row]:
    r"""Return the rows of JSON text: one object a line, one list of objects, or objects one after another.

    Each value is what Python's ``json`` makes of it, whatever stands in other rows. A number with more digits than a
    float keeps is a ``Decimal``.

    Args:
        file: UTF-8 text, which may begin with a byte-order mark.
        name: What errors call the file.
        field: Key of the one object in the file under which the list of rows stands.

    Raises:
        ValueError: If the text is not JSON, not UTF-8, or holds something else than objects; the line is named.

    Example:
        >>> read_json(io.BytesIO(b'{"answer": "007"}\n{"answer": 7, "level": 1}'), "rows.jsonl")
        [{'answer': '007'}, {'answer': 7, 'level': 1}]
    """
    rows = _rows_of_lines(file, name) if field is None else None
    if rows is None:
        file.seek(0)
        rows = _rows_of_document(file.read(), name, field)
    return rows


def parse_json(text: str) -> Any:
    """Return what one JSON text holds, by the rules of :func:`read_json`.

    Args:
        text: One value.

    Raises:
        ValueError: If it is not JSON, nested too deeply, or names a key twice.
    """
    try:
        return _DECODER.decode(text)
    except (RecursionError, ArithmeticError) as error:
        raise GFTValueError(_reason(error)) from error


def _rows_of_lines(file: BinaryIO, name: str) -> list[Row] | None:
    """Return an object a line; ``None`` if the first line is not one, so that the text has to be read as a whole."""
    rows: list[Row] = []
    for number, line in enumerate(file, start=1):  # ends at "\n" only: texts may hold any other end of a line
        text = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
        if not text.strip():
            continue
        try:
            row = _DECODER.decode(text.decode())
        except UnicodeDecodeError as error:
            raise GFTValueError(encoding_fault(file, name)) from error
        except (ValueError, RecursionError, ArithmeticError) as error:
            if not rows and isinstance(error, json.JSONDecodeError):
                return None
            raise GFTValueError(
                f"line {number} of {name}: expected {_LINES}, got {shorten(text.decode())} ({_reason(error)}); correct "
                "the line or take it out"
            ) from error
        if not rows and isinstance(row, list):
            return None
        rows.append(_checked(row, f"line {number} of {name}", suspect=_may_hold_half(text)))
    return rows


def _rows_of_document(data: bytes, name: str, field: str | None) -> list[Row]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise GFTValueError(encoding_fault(io.BytesIO(data), name)) from error
    try:
        values = list(_values(text))
    except json.JSONDecodeError as error:
        line = text.split("\n")[error.lineno - 1]
        raise GFTValueError(
            f"line {error.lineno} of {name}: expected {_LINES}, got text that is not JSON ({error.msg}, column "
            f"{error.colno}): {shorten(line)}; correct it"
        ) from error
    except (ValueError, RecursionError, ArithmeticError) as error:
        raise GFTValueError(f"{name}: expected {_LINES}, got one that cannot be read ({_reason(error)})") from error
    if field is not None:
        values = [(line, _part(value, field, name)) for line, value in values]
    if len(values) == 1 and isinstance(values[0][1], list):
        places = ((f"row {number} (counting from 0) of {name}", row) for number, row in enumerate(values[0][1]))
    else:
        places = ((f"line {line} of {name}", row) for line, row in values)
    suspect = _may_hold_half(data)
    return [_checked(row, place, suspect) for place, row in places]


def _values(text: str) -> Iterator[tuple[int, Any]]:
    """Yield each value with the line that it begins on."""
    line, counted, start = 1, 0, _end_of_space(text, 0)
    while start < len(text):
        line, counted = line + text.count("\n", counted, start), start
        value, end = _DECODER.raw_decode(text, start)
        yield line, value
        start = _end_of_space(text, end)


def _end_of_space(text: str, start: int) -> int:
    space = _SPACE.match(text, start)
    return start if space is None else space.end()


def _part(value: Any, field: str, name: str) -> list[Any]:
    part = value.get(field) if isinstance(value, dict) else None
    if not isinstance(part, list):
        raise GFTValueError(f"{name}: expected an object with a list of rows under {field!r}, got {shorten(value)}")
    return part


def _may_hold_half(source: bytes) -> bool:
    """Return whether a text could hold half of a surrogate pair, which is valid JSON, but no text."""
    return b"\\ud" in source or b"\\uD" in source


def _checked(row: Any, place: str, suspect: bool) -> Row:
    if not isinstance(row, dict):
        raise GFTValueError(f'{place}: expected an object like {{"prompt": "...", ...}}, got {shorten(row)}')
    if suspect:
        try:
            json.dumps(row, ensure_ascii=False, default=str).encode()
        except UnicodeEncodeError as error:
            half = shorten(error.object[max(0, error.start - 20) : error.end])
            raise GFTValueError(
                f"{place}: expected text, got half of a surrogate pair in {half}; correct it"
            ) from error
    return row


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg}, character {error.pos}"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, ArithmeticError):
        return "a number in it is too large"
    return f"{error}".partition(";")[0]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    items = dict(pairs)
    if len(items) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise GFTValueError(f"an object has the key {repeated!r} twice")
    return items


def _number(literal: str) -> float | Decimal:
    """Return the float that a literal was printed from, or else, with more digits than one has, a decimal number."""
    number = float(literal)
    if len(literal) <= _SHORT and "e" not in literal and "E" not in literal:
        return number
    written = Decimal(literal)
    if written == Decimal(repr(number)):
        return number
    as_long = Context(prec=len(written.as_tuple().digits)).create_decimal(number)
    return number if written == as_long else written


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_number)
