r"""Extracts the answer of a response: from its box, after a marker or a statement, or from its end."""

from __future__ import annotations

import re

from lightning_gft.answers.expressions import find_expressions
from lightning_gft.answers.numbers import first_of, trimmed
from lightning_gft.answers.statements import after_statement, begins_with_statement, says_answer
from lightning_gft.answers.typography import plain, read_box
from lightning_gft.answers.units import read_unit
from lightning_gft.answers.words import UNITS

SOLUTION_MARKER = "####"
"""Precedes the answer in worked solutions, as in GSM8K."""
THOUGHT_ENDS = "</think>"
_BOXES = (r"\boxed", r"\fbox")
_ESCAPED = re.compile(r"\\.", re.DOTALL)
_MOST_BOXES = 50
_BETWEEN_BOXES = re.compile(
    r"(?:[\s$.,;:&]|\\[()\[\]]|\\text(?=\{)|[{}]|\b(?:and|or|maybe|perhaps|possibly|also)\b){1,40}"
)
_JOINS = re.compile(r"[,;&]|\b(?:and|or)\b")
_CLAUSE_ENDS = re.compile(
    r"\.(?=\s|$)|\n|(?:,\s*)?\b(?:because|since|so that|which|I hope)\b|,(?=\s*[^\W\d_]{2,}(?:\s+[^\s,]+){2})"
)
_FORMULA = re.compile(
    r"\$\$(?P<a>[^$]+)\$\$|(?<![\\\w])\$(?P<b>[^\s$](?:[^$\n]*[^\s$])?)\$(?!\d)|\\\((?P<c>.+?)\\\)|\\\[(?P<d>.+?)\\\]"
    r"|(?<![^\s=])(?P<e>(?:\\left ?[\[(] ?)?\\begin\{(?P<name>[a-zA-Z]?matrix|array)\}.+?\\end\{(?P=name)\}"
    r"(?: ?\\right ?[\])])?)",
    re.DOTALL,
)
_IS = re.compile(r"\b(?:is|are)\s")
_JOINING_FORMULAS = re.compile(r"\s*(?:,|,?\s*(?:and|or))\s*")
_DENIED = re.compile(r"\s*not\b", re.IGNORECASE)
_SHORT_WORDS = "rs is of to in so we it at by as an be he if no on up us my do go"
_PROSE = re.compile(rf"(?!and$|[A-Z]+$)[^\W\d_]{{3,}}|(?i:{_SHORT_WORDS.replace(' ', '|')})")
"""A word of prose, which cannot be a part of an answer; a variable's name or a joining word can."""
_WORKED = re.compile(r"[0-9)] ?=.*\b(?:and|or)\b")
"""A calculation and a further one, of which the last counts, as in "3 + 4 = 7 and 7 * 2 = 14"."""
_HEADING = re.compile(r"[^\W\d_]{3,}")
_EMPHASIS = " \t*_`"
_LONGEST = 20_000
"""Characters at the end of a response that are searched if it has no box and no marker."""
_LONGEST_CLAUSE = 2_000


def find_answer(response: str) -> tuple[str, ...]:
    r"""Return the readings of a response's answer: as written, then without surrounding words; empty without one.

    Example:
        >>> find_answer(r"so it is \boxed{\frac{3}{4}}"), find_answer("The answer is the number 12.")
        (('\\frac{3}{4}',), ('the number 12', '12'))
    """
    response = response.rpartition(THOUGHT_ENDS)[2]
    if (inside := in_boxes(response)) is not None:
        return _of_clause(inside, first=True) if says_answer(inside) else (inside,)
    if (marked := _after_marker(response)) is not None:
        return _of_clause(marked, first=True)
    response = response[-_LONGEST:]
    if (said := after_statement(response)) is not None:
        said = said.lstrip(_EMPHASIS + "\n:=")
        return () if _DENIED.match(said) else _of_clause(_clause(said), first=True)
    return _at_the_end(response)


def in_boxes(text: str) -> str | None:
    r"""Return the content of a text's last box, joined with the boxes just before it: ``\boxed{1}, \boxed{2}``.

    The innermost of nested boxes counts. A box that is never closed extends to the end of the text.

    Example:
        >>> in_boxes(r"\boxed{1}? No, \fbox{2}."), in_boxes(r"\boxed{1} or \boxed{2}")
        ('2', '1, 2')
    """
    found: list[str] = []
    stop = len(text)
    while len(found) < _MOST_BOXES:
        start = max(text.rfind(command, 0, stop) for command in _BOXES)
        if start < 0:
            break
        inside, end = read_box(text, start)
        between = text[end:stop]
        if found and not (end <= stop and _BETWEEN_BOXES.fullmatch(between) and _JOINS.search(between)):
            break
        if inside not in found:
            found.insert(0, inside)
        stop = start
    return ", ".join(found) if found else None


def is_box_open(text: str) -> bool:
    r"""Return whether the last box of a text is never closed.

    Example:
        >>> is_box_open(r"\boxed{\frac{1}{2}"), is_box_open(r"\boxed{\frac{1}{2}}"), is_box_open("1/2")
        (True, False, False)
    """
    start = max(map(text.rfind, _BOXES))
    if start < 0:
        return False
    box = _ESCAPED.sub("", text[start : read_box(text, start)[1]])
    return box.count("{") > box.count("}")


def _after_marker(text: str) -> str | None:
    """Return the line after the last marker that is no heading such as "#### Step 1", or ``None`` without one."""
    stop = len(text)
    while (start := text.rfind(SOLUTION_MARKER, 0, stop)) >= 0:
        line, _, rest = text[start + len(SOLUTION_MARKER) : stop].lstrip(" ").partition("\n")
        if not (_HEADING.match(line) and rest.strip()) or begins_with_statement(line):
            return line
        stop = start
    return None


def _clause(text: str) -> str:
    """Return the first clause of a text; punctuation within a formula at its beginning does not end it."""
    text = text[:_LONGEST_CLAUSE]
    formula = _FORMULA.match(text)
    end = _CLAUSE_ENDS.search(text, formula.end() if formula else 0)
    return text[: end.start()] if end else text


def _of_clause(clause: str, first: bool) -> tuple[str, ...]:
    clause = clause.strip(_EMPHASIS)[:_LONGEST_CLAUSE]
    if not clause:
        return ()
    mathematics = _mathematics(clause, first)
    return (clause,) if mathematics in (None, clause) else (clause, mathematics or "")


def _at_the_end(response: str) -> tuple[str, ...]:
    """Return the last line, its first clause, the part after its last "is", and the last expression of any line."""
    lines = [line.strip(_EMPHASIS)[-_LONGEST_CLAUSE:] for line in response.splitlines()]
    lines = [line for line in lines if line]
    if not lines:
        return ()
    found = next((answer for line in reversed(lines) if (answer := _mathematics(line, first=False))), None)
    clause = _clause(lines[-1])
    return (lines[-1], clause, _IS.split(clause)[-1], *([] if found is None else [found]))


def _mathematics(clause: str, first: bool) -> str | None:
    """Return the first or last expression or formula of a clause, or the whole clause if it holds no prose."""
    if formulas := list(_FORMULA.finditer(clause)):
        return _formulas(clause, formulas, first)
    found, others = find_expressions(plain(clause))
    chosen = first_of(found) if first else found[-1] if found else None
    if chosen is None:
        return None
    is_prose = _WORKED.search(clause) or any(_PROSE.fullmatch(word) for word in others)
    return " ".join(trimmed(chosen).texts) if is_prose else clause


def _formulas(clause: str, formulas: list[re.Match[str]], first: bool) -> str:
    """Return the first or last formula of a clause, with formulas that words join to it and the unit after it."""
    chosen = [formulas[0 if first else -1]]
    for other in formulas[1:] if first else reversed(formulas[:-1]):
        one, two = (chosen[-1], other) if first else (other, chosen[0])
        if not _JOINING_FORMULAS.fullmatch(clause, one.end(), two.start()):
            break
        chosen.insert(len(chosen) if first else 0, other)
    after = clause[chosen[-1].end() :]
    found, _ = find_expressions(plain(after))
    if found and not first:  # a number follows the formulas
        return " ".join(trimmed(found[-1]).texts)
    inside = ", ".join(next(group for group in match.groups() if group) for match in chosen)
    unit = after.strip(_EMPHASIS + ".,")
    return f"{inside} {unit}" if unit and (unit in UNITS or read_unit(unit)) else inside
