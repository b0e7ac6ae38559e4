"""Words what YAML says is wrong with a text."""

from __future__ import annotations

import re

import yaml

_WORDS = (
    (
        "mapping values are not allowed in this context",
        "expected one `name: value` on the line, got another colon; quote a text that contains a colon, and indent "
        "settings of one level alike",
    ),
    ("found character that cannot start any token", "expected a value, got one that begins with {found}; quote it"),
    (
        "did not find expected ',' or ']'",
        "expected a comma or ] in the list that begins {begin}, got {found}; close the list",
    ),
    (
        "did not find expected ',' or '}'",
        "expected a comma or }} in the settings that begin {begin}, got {found}; close them",
    ),
    (
        "did not find expected node content",
        "expected a value, got {found}; quote a text that begins with a special character",
    ),
    (
        "did not find expected key",
        "expected `name: value` with the indentation of the settings that begin {begin}, got {found}; indent settings "
        "of one level alike, and close quotation marks",
    ),
    ("could not find expected ':'", "expected `name: value`, got no colon after the name that begins {begin}; add one"),
    (
        "did not find expected '-' indicator",
        "expected `- value` with the indentation of the list that begins {begin}, got {found}; indent its entries "
        "alike",
    ),
    ("block sequence entries are not allowed in this context", "expected a value, got `-`; begin a list on a new line"),
    (
        "found unexpected end of stream",
        "expected the end of the text that is quoted {begin}, got none; close the quotation",
    ),
    ("did not find expected <document start>", "expected the end, got more after a complete value; quote the text"),
    (
        "expected a single document in the stream",
        "expected one document, got another after `---`; write it to its own file",
    ),
    (
        "found unknown escape character",
        "expected an escape sequence such as \\n after a backslash between double quotes, got another; use single "
        "quotes",
    ),
    ("found undefined alias", "expected the name of an anchor after *, got one without an anchor; quote a text with *"),
)
"""What libyaml says, and what it means; `{begin}` is where the unfinished part begins, `{found}` is at fault."""

_TAG = re.compile(r"could not determine a constructor for the tag '(.*)'")


def place_of_error(error: yaml.YAMLError, text: str) -> str:
    r"""Return the line and the column at which YAML found an error; only the column if the text has one line.

    Example:
        >>> try:
        ...     yaml.safe_load("a: b: c")
        ... except yaml.YAMLError as error:
        ...     place_of_error(error, "a: b: c"), place_of_error(error, "a: b: c\n")
        ('column 5', 'line 1, column 5')
    """
    if isinstance(error, yaml.MarkedYAMLError) and (mark := error.problem_mark or error.context_mark):
        return _shown(mark.line, mark.column, text)
    if isinstance(error, yaml.reader.ReaderError):
        # libyaml counts bytes, PyYAML's own reader characters.
        encoded = text if error.encoding == "unicode" else text.encode()
        before = encoded[: error.position]
        before = before if isinstance(before, str) else before.decode(errors="ignore")
        return _shown(before.count("\n"), len(before) - before.rfind("\n") - 1, text)
    return ""


def problem_of(error: yaml.YAMLError, text: str) -> str:
    """Return what is wrong with a text that is no YAML, without the place.

    Example:
        >>> try:
        ...     yaml.load("a: [1", yaml.CSafeLoader)
        ... except yaml.YAMLError as error:
        ...     problem_of(error, "a: [1")
        'expected a comma or ] in the list that begins in column 4, got the end; close the list'
    """
    if isinstance(error, yaml.reader.ReaderError):
        return f"expected a text, got the character U+{int(error.character):04X}; remove it"
    if not isinstance(error, yaml.MarkedYAMLError):
        return " ".join(str(error).split())
    problem = ", ".join(filter(None, [error.context, error.problem]))
    if match := _TAG.search(problem):
        return f"expected a plain value, got the tag {match[1]!r}; quote a text that begins with an exclamation mark"
    begin = "earlier"
    if (mark := error.context_mark) is not None:
        begin = f"on line {mark.line + 1}" if "\n" in text else f"in column {mark.column + 1}"
    character = "" if error.problem_mark is None else _at(error.problem_mark, text)
    if character == "\t":
        return "expected spaces, got a tab; indent by spaces"
    words = next((words for said, words in _WORDS if said in problem), problem.replace("{", "{{").replace("}", "}}"))
    return words.format(begin=begin, found=f"`{character}`" if character else "the end")


def _at(mark: yaml.Mark, text: str) -> str:
    """Return the character at a mark; empty at the end of a line."""
    lines = text.split("\n")
    return lines[mark.line][mark.column : mark.column + 1] if mark.line < len(lines) else ""


def _shown(line: int, column: int, text: str) -> str:
    if "\n" in text:
        return f"line {line + 1}, column {column + 1}"
    return f"column {len(text) if line else column + 1}"  # libyaml puts the end of a text on the next line
