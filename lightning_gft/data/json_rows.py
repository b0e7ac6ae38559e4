"""Rows from JSON with their exact values: texts, numbers, nested keys, and keys that some rows lack."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Context, Decimal
from typing import Any, BinaryIO

from lightning_gft.checks import shorten
from lightning_gft.data.columns import Row
from lightning_gft.errors import GFTValueError

_SPACE = re.compile(r"[ \t\r\n]*")
_SHOWN = 80
"""Characters of a line that an error shows."""
_SHORT = 16
"""A decimal number of at most this many characters has at most 15 digits, all of which a float keeps."""
_EXPECTED = "one JSON object per line, or a list of objects"


def read_json(file: BinaryIO, name: str, field: str | None = None) -> list[Row]:
    r"""Return the rows of JSON text: one object per line, one list of objects, or objects one after another.

    Each value is converted as by Python's ``json``, independently of other rows. A number with more digits than a
    float keeps becomes a ``Decimal``.

    Example:
        >>> import io
        >>> read_json(io.BytesIO(b'{"answer": "007"}\n{"answer": 7, "level": 1}'), "rows.jsonl")
        [{'answer': '007'}, {'answer': 7, 'level': 1}]
    """
    data = file.read()
    may_hold_half = b"\\ud" in data or b"\\uD" in data
    text = data.decode("utf-8-sig")
    del data
    values = list(_values(text, name, per_line=field is None))
    if field is not None:
        values = [(line, _part(value, field, name)) for line, value in values]
    if len(values) == 1 and isinstance(values[0][1], list):
        called, values = "row {} (counting from 0)", list(enumerate(values[0][1]))
    else:
        called = "line {}"
    for number, row in values:
        if not isinstance(row, dict):
            where = f"{called.format(number)} of {name}"
            raise GFTValueError(f'{where}: expected an object like {{"prompt": "...", ...}}, got {shorten(row)}')
        if may_hold_half:
            _check_text(row, f"{called.format(number)} of {name}")
    return [row for _, row in values]


def parse_json(text: str) -> Any:
    """Return the value of one JSON text, converted like those of :func:`read_json`."""
    try:
        return _DECODER.decode(text)
    except (RecursionError, ArithmeticError) as error:
        raise GFTValueError(_reason(error)) from error


def _values(text: str, name: str, per_line: bool) -> Iterator[tuple[int, Any]]:
    """Yield each value with the line that it begins on; ``per_line`` says that a line may be a whole row."""
    line, counted, start = 1, 0, _end_of_space(text, 0)
    while start < len(text):
        line, counted = line + text.count("\n", counted, start), start
        try:
            value, end = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError, ArithmeticError) as error:
            at, reason = start, _reason(error)
            if isinstance(error, json.JSONDecodeError):
                # The fault comes after the last value that was read: a line that lacks its end is named, not the next.
                read = len(text[: error.pos].rstrip())
                cut_off = _fault_of_cut_off_row(text, start, read) if per_line else None
                at, reason = (start, cut_off) if cut_off else (max(start, read), _between_rows(text, start) or reason)
            line += text.count("\n", start, at)
            shown = _around(text, at)
            raise GFTValueError(
                f"line {line} of {name}: expected {_EXPECTED}, got {shown} ({reason}); correct or remove the line"
            ) from error
        yield line, value
        start = _end_of_space(text, end)


def _between_rows(text: str, start: int) -> str | None:
    """Return what stands where a row should begin, if that is no value at all; ``None`` before a value."""
    if text[start] == "\0":
        return "NUL characters, as after a write that was interrupted"
    follows = text[:start].rstrip(" \t")[-1:] in ("}", "]")
    return f"{text[start]!r} after the end of a row" if follows and text[start] not in "{[" else None


def _around(text: str, at: int) -> str:
    """Return the line of a position as errors show it, without its beginning if the position were cut off."""
    begin = text.rfind("\n", 0, at) + 1
    line, place = text[begin:].partition("\n")[0].rstrip("\r"), at - begin
    if len(repr(line[: place + 1])) < _SHOWN:
        return shorten(line, _SHOWN)
    return f"…{shorten(line[max(0, place - _SHOWN // 2) :], _SHOWN)}"


def _fault_of_cut_off_row(text: str, start: int, end: int) -> str | None:
    """Return the fault of a row of JSON Lines that lacks its end, so that the next line was read as a part of it.

    ``None`` if there is no such row. Rows of JSON Lines begin their lines; objects within a row that spans several
    lines are indented.
    """
    if text[start] != "{":
        return None
    first, *others = (text[start:end] + text[end:].partition("\n")[0]).split("\n")
    runs_on = any(line.startswith("{") and _fault(line) is None for line in others)
    return _fault(first) if runs_on else None


def _fault(line: str) -> str | None:
    """Return what is wrong with a line as JSON, or ``None``."""
    try:
        _DECODER.decode(line)
    except (ValueError, RecursionError, ArithmeticError) as error:
        return _reason(error)
    return None


def _end_of_space(text: str, start: int) -> int:
    space = _SPACE.match(text, start)
    return start if space is None else space.end()


def _part(value: Any, field: str, name: str) -> list[Any]:
    part = value.get(field) if isinstance(value, dict) else None
    if not isinstance(part, list):
        raise GFTValueError(
            f"{name}: expected an object with a list of rows under {field!r}, got {shorten(value)}; correct the file "
            "or the card's `field`"
        )
    return part


def _check_text(row: Row, where: str) -> None:
    """Raise an error for half of a surrogate pair, which is valid JSON, but not text."""
    try:
        json.dumps(row, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError as error:
        half = shorten(error.object[max(0, error.start - 20) : error.end])
        raise GFTValueError(f"{where}: expected text, got half of a surrogate pair in {half}; correct it") from error


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return error.msg.removesuffix(" at")  # the line and its beginning say where
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
    """Return a float, or a decimal number for a literal with more digits than a float keeps."""
    number = float(literal)
    if len(literal) <= _SHORT and "e" not in literal and "E" not in literal:
        return number
    written = Decimal(literal)
    if written == Decimal(repr(number)):
        return number
    as_long = Context(prec=len(written.as_tuple().digits)).create_decimal(number)
    return number if written == as_long else written


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_number)
