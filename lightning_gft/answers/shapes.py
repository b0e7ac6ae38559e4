r"""Parses the shape of an answer: a single value, or a list, set, tuple, interval, union, matrix or ratio of values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from lightning_gft.answers.latex import closing, peeled, tidy, unwrapped
from lightning_gft.answers.numbers import read_quantity

Kind = Literal["one", "list", "set", "tuple", "interval", "union", "matrix", "ratio"]

_ENVIRONMENT = r"\{(?:[pbvBV]?matrix|array)\}"
_MATRIX = re.compile(
    rf"[(\[]? ?\\begin{_ENVIRONMENT}(?:\{{[clr| ]*\}})?(?P<rows>.*)\\end{_ENVIRONMENT} ?[)\]]?", re.DOTALL
)
_MEMBER = re.compile(r"[A-Za-z](?:_\w)? ?\\in ?(?![a-zA-Z])")
_CONDITION = re.compile(
    r"\\\{ ?(?P<name>[a-z]) ?(?:\\in ?\\mathbb\{R\} ?)?(?:\\mid(?![a-z])|[|:]) ?"
    r"(?P<condition>(?P=name) .+|.+ (?P=name).*)\\\}"
)
_BOUNDS = re.compile(
    r"(?:(?P<left>[^<>=,]+?) ?(?P<from><|>|\\leq|\\geq) ?)?(?P<name>[A-Za-z]) ?"
    r"(?:(?P<to><|>|\\leq|\\geq) ?(?P<right>[^<>=,]+))?"
)
_NAME = (
    r"(?:[A-Za-z]'?(?:_(?:\w|\{\w+\}))?(?:\([a-z]\))?"
    r"|\\(?:vec|overrightarrow) ?(?:\{[A-Za-z]+\}|[A-Za-z])|\\(?!frac)[a-z]+)"
)
_NAMED = re.compile(rf"(?P<name>{_NAME}|\\angle [A-Z]+|[A-Z]+) ?(?:=|\\approx) ?(?P<value>.+)", re.DOTALL)
_NAME_OF_SIDE = re.compile(r"(?<![\\a-z])[a-zA-Z](?![a-zA-Z])")
_OR = re.compile(r" or |\\text\{ ?or ?\}|\\lor |\\vee ")
_RATIO = re.compile(r"[0-9]+(?:\.[0-9]+)?(?: ?: ?[0-9]+(?:\.[0-9]+)?)+")
_JOINING = re.compile(r"(?:,? ?\\text\{ ?(?:and|or) ?\}|,? (?:and|or) (?:(?:maybe|perhaps|possibly|also) )?)")
_THOUSANDS = re.compile(r"(?<![0-9])([0-9]{1,3}),(?=[0-9]{3}(?![0-9]))")
_DELIMITERS = {"(": ")", "[": "]", r"\{": r"\}", r"\langle": r"\rangle", "<": ">"}
_MOST_PARTS = 200
_DEEPEST = 8


@dataclass(frozen=True)
class Shape:
    """An answer with its parts.

    Args:
        kind: What the parts form; ``"one"`` is a single value without parts.
        text: The normalised text.
        parts: The shapes of the elements, in order.
    """

    kind: Kind
    text: str
    parts: tuple[Shape, ...] = ()
    ends: str = ""
    """Brackets such as ``[)``, or the size of a matrix such as ``2x3``."""
    name: str = ""
    """The variable on the other side of its equals sign."""


def read_shape(text: str, depth: int = 0) -> Shape:
    r"""Return the shape of a normalised answer.

    Example:
        >>> read_shape(r"[1, \infty )").kind, [part.text for part in read_shape("x = 1 or x = 2").parts]
        ('interval', ['1', '2'])
    """
    text = text.strip()
    if depth > _DEEPEST:
        return Shape("one", text)
    if match := _MATRIX.fullmatch(text):
        return _matrix(text, match["rows"], depth)
    if member := _MEMBER.match(text):
        return read_shape(text[member.end() :], depth + 1)
    if condition := _CONDITION.fullmatch(text):
        return read_shape(condition["condition"], depth + 1)
    if bounds := _BOUNDS.fullmatch(text):
        return _between(text, bounds, depth)
    if (bracketed := _bracketed(text, depth)) is not None:
        return bracketed
    if read_quantity(text) is not None:
        return Shape("one", text)
    several: tuple[tuple[Kind, list[str]], ...] = (("union", _split(text, r"\cup")), ("list", _items(text)))
    for kind, pieces in several:
        if len(pieces) > 1:
            return _together(kind, text, [read_shape(piece, depth + 1) for piece in pieces])
    return _single(text, depth)


def _between(text: str, bounds: re.Match[str], depth: int) -> Shape:
    r"""Return the interval of ``1 < x \leq 2`` or ``x > 3``."""
    sides = [bounds[group] for group in ("left", "from", "to", "right")]
    if sides == [None] * 4 or any(_NAME_OF_SIDE.search(side or "") for side in (sides[0], sides[3])):
        return _single(text, depth)
    left, first, second, right = sides
    ascending = {mark for mark in (first, second) if mark} <= {"<", r"\leq"}
    if not ascending:
        if {mark for mark in (first, second) if mark} & {"<", r"\leq"}:
            return _single(text, depth)
        left, first, second, right = right, second, first, left
    low, high = read_shape(left or r"-\infty", depth + 1), read_shape(right or r"\infty", depth + 1)
    closed = (r"\leq", r"\geq")
    ends = ("[" if first in closed else "(") + ("]" if second in closed else ")")
    return Shape("interval", text, (low, high), ends, bounds["name"])


def _single(text: str, depth: int) -> Shape:
    if named := _NAMED.fullmatch(text):
        value = read_shape(named["value"], depth + 1)
        return Shape(value.kind, value.text, value.parts, value.ends, named["name"])
    if text.count(r"\pm") == 1 and not any(sign in text for sign in "=<>"):
        signed = [tidy(text.replace(r"\pm", sign)) for sign in "+-"]
        return Shape("list", text, tuple(Shape("one", one.removeprefix("+")) for one in signed))
    if _RATIO.fullmatch(text):
        return Shape("ratio", text, tuple(Shape("one", part) for part in text.split(":")))
    inner = unwrapped(text)
    if inner != text and text.startswith(r"\text{") and closing(text, 5) == len(text) - 1:
        return read_shape(inner, depth + 1)
    return Shape("one", text)


def _together(kind: Kind, text: str, parts: list[Shape]) -> Shape:
    """Return a list of parts; a name that all share is dropped: "x = 1 or x = 2"."""
    if kind == "list" and _OR.search(text) and all(part.kind == "interval" and part.name for part in parts):
        kind = "union"
    names = {part.name for part in parts}
    if len(names) == 1:
        parts = [Shape(part.kind, part.text, part.parts, part.ends) for part in parts]
    return Shape(kind, text, tuple(parts))


def _bracketed(text: str, depth: int) -> Shape | None:
    text = _without_repeated(text)
    while True:
        opening = next((mark for mark in _DELIMITERS if text.startswith(mark)), None)
        if opening is None:
            return None
        end = closing(text, len(opening) - 1) if opening in ("(", "[", r"\{") else len(text) - 1
        close = r"\}" if opening == r"\{" else text[end : end + 1]
        if opening in (r"\langle", "<") and not text.endswith(close := _DELIMITERS[opening]):
            return None
        if end != len(text) - 1 or (opening == r"\{") != text.endswith(r"\}"):
            return None
        inside = text[len(opening) : len(text) - len(close)].strip()
        pieces = _items(inside)
        if opening == r"\{":
            return _set(text, inside, pieces, depth)
        if len(pieces) > 1:
            break
        if opening != "(" or close != ")":
            return None
        text = inside  # brackets around a single value
        if not text.startswith("("):
            return read_shape(text, depth + 1)
    parts = tuple(read_shape(piece, depth + 1) for piece in pieces)
    square = "[" in opening or "]" in close
    ends = opening + close if opening in "([" else "()"
    return Shape("interval" if square and len(parts) == 2 else "tuple", text, parts, ends)


def _without_repeated(text: str) -> str:
    """Return ``(((x)))`` with a single pair of brackets, and any other text unchanged."""
    *_, outer, _ = [(0, len(text)), *peeled(text, "()", " ", " ")]
    return text[slice(*outer)]


def _set(text: str, inside: str, pieces: list[str], depth: int) -> Shape | None:
    if any(mark in inside for mark in (r"\mid", "|", " : ", r"\ldots", r"\dots", r"\cdots")):
        return None  # a condition describes its elements, or some are omitted
    return Shape("set", text, tuple(read_shape(piece, depth + 1) for piece in pieces))


def _matrix(text: str, rows: str, depth: int) -> Shape:
    cells = [row.split("&") for row in rows.split(r"\\") if row.strip()]
    if len({len(row) for row in cells}) != 1:
        return Shape("one", text)
    parts = tuple(read_shape(tidy(cell), depth + 1) for row in cells for cell in row)
    return Shape("matrix", text, parts, f"{len(cells)}x{len(cells[0])}")


def _items(text: str) -> list[str]:
    """Split at commas, semicolons, "and" and "or" outside of brackets."""
    joined = _JOINING.sub(" , ", text)
    if re.search(r"[,;] ", joined):
        joined = _THOUSANDS.sub(r"\1", joined)  # "1,000, 2,000"
    return top_level(joined, ",;")[:_MOST_PARTS]


def _split(text: str, command: str) -> list[str]:
    return top_level(text.replace(command, "\0"), "\0") if command in text else [text]


def top_level(text: str, separators: str) -> list[str]:
    """Split a text at separators outside of brackets; empty pieces are dropped.

    Example:
        >>> top_level("f(x, y), z", ",")
        ['f(x, y)', 'z']
    """
    pieces, depth, start = [], 0, 0
    for index, character in enumerate(text):
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif depth == 0 and character in separators:
            pieces.append(text[start:index].strip())
            start = index + 1
    return [piece for piece in [*pieces, text[start:].strip()] if piece]
