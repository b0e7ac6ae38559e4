r"""Finding the answer that a response gives: in its box, after its marker or its own words, or at its end."""

from __future__ import annotations

import re

from lightning_gft.answers.expressions import find_expressions
from lightning_gft.answers.numbers import first_of, trimmed
from lightning_gft.answers.statements import after_statement, begins_with_statement, says_answer
from lightning_gft.answers.typography import plain, read_box
from lightning_gft.answers.units import read_unit
from lightning_gft.answers.words import UNITS

SOLUTION_MARKER = "####"
"""What the answer follows in a worked solution of the GSM8K kind."""
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
"""A word that is no part of an answer, as names of variables and what joins two answers are."""
_WORKED = re.compile(r"[0-9)] ?=.*\b(?:and|or)\b")
"""A calculation and another: the last counts, as in "3 + 4 = 7 and 7 * 2 = 14"."""
_HEADING = re.compile(r"[^\W\d_]{3,}")
_EMPHASIS = " \t*_`"
_LONGEST = 20_000
"""Characters at the end of a response in which its answer is looked for, where no box or marker shows it."""
_LONGEST_CLAUSE = 2_000


def find_answer(response: str) -> tuple[str, ...]:
    r"""Return the answer of a response, as it is written and then without words around it; nothing if it has none.

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
    r"""Return what the last box of a text holds, with those before it that belong to it: ``\boxed{1}, \boxed{2}``.

    Where boxes are nested, the innermost is meant. One that is never closed reaches to the end.

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
    r"""Say whether the last box of a text is never closed.

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
    """Return the line after the last marker, ``None`` where there is none but a heading such as "#### Step 1"."""
    stop = len(text)
    while (start := text.rfind(SOLUTION_MARKER, 0, stop)) >= 0:
        line, _, rest = text[start + len(SOLUTION_MARKER) : stop].lstrip(" ").partition("\n")
        if not (_HEADING.match(line) and rest.strip()) or begins_with_statement(line):
            return line
        stop = start
    return None


def _clause(text: str) -> str:
    """Return the beginning of a text up to the end of its clause, which a formula at its beginning does not end."""
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
    """Return the last line, its first clause, what it says is, and the last expression, maybe of a line before."""
    lines = [line.strip(_EMPHASIS)[-_LONGEST_CLAUSE:] for line in response.splitlines()]
    lines = [line for line in lines if line]
    if not lines:
        return ()
    found = next((answer for line in reversed(lines) if (answer := _mathematics(line, first=False))), None)
    clause = _clause(lines[-1])
    return (lines[-1], clause, _IS.split(clause)[-1], *([] if found is None else [found]))


def _mathematics(clause: str, first: bool) -> str | None:
    """Return the first or last expression or formula of a clause, all of it where there are no words around it."""
    if formulas := list(_FORMULA.finditer(clause)):
        return _formulas(clause, formulas, first)
    found, others = find_expressions(plain(clause))
    chosen = first_of(found) if first else found[-1] if found else None
    if chosen is None:
        return None
    is_prose = _WORKED.search(clause) or any(_PROSE.fullmatch(word) for word in others)
    return " ".join(trimmed(chosen).texts) if is_prose else clause


def _formulas(clause: str, formulas: list[re.Match[str]], first: bool) -> str:
    """Return formulas that words join, or the first or last of a clause, with a unit after it."""
    chosen = [formulas[0 if first else -1]]
    for other in formulas[1:] if first else reversed(formulas[:-1]):
        one, two = (chosen[-1], other) if first else (other, chosen[0])
        if not _JOINING_FORMULAS.fullmatch(clause, one.end(), two.start()):
            break
        chosen.insert(len(chosen) if first else 0, other)
    after = clause[chosen[-1].end() :]
    found, _ = find_expressions(plain(after))
    if found and not first:  # a number comes after
        return " ".join(trimmed(found[-1]).texts)
    inside = ", ".join(next(group for group in match.groups() if group) for match in chosen)
    unit = after.strip(_EMPHASIS + ".,")
    return f"{inside} {unit}" if unit and (unit in UNITS or read_unit(unit)) else inside
