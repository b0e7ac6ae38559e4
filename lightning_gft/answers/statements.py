"""Finds the statements of an answer in a response: "the answer is", "Answer:", "the correct option is" and the like."""

from __future__ import annotations

import re

_OF_WHAT = r"(?:\s+(?:to|for)\b(?:(?!answer)[^.:=\n]){0,80}?)?"
_NAMED = r"[*_`\s]{0,20}(?:\([^)\n]{0,20}\)[*_`\s]{0,20})?"
_IS = (
    r"\b(?:is|are|equals|would be|should be|must be|thus)\b"
    r"(?!\s*(?:not\s+)?(?:the\s+)?(?:correct|right|wrong|incorrect|valid|best|better|also)\b)"
)
_CHOSEN = r"(?:(?<![^\n*_])|(?<=[.!?] )|(?<=correct )|(?<=right )|(?<=best )|(?<=final )|(?<=my ))"
_STATEMENT = re.compile(
    rf"(?<!other )(?<!wrong )(?<!incorrect )\b(?:answers?{_OF_WHAT}{_NAMED}(?:[:=]|{_IS})"
    rf"|(?:option|choice){_NAMED}{_IS}(?!\s*(?:not\s+)?(?:true|false)\b)"
    rf"|{_CHOSEN}(?:option|choice){_NAMED}[:=]"
    r"|final\s+answer\b(?=\W*\n))",
    re.IGNORECASE,
)
"""Neither a verdict on an answer ("this answer is right") nor "first choice: 5 ways". The last branch is a heading."""


def says_answer(text: str) -> bool:
    """Return whether a text states an answer.

    Example:
        >>> says_answer("So the answer to the first part is 5."), says_answer("This answer is correct.")
        (True, False)
    """
    return _STATEMENT.search(text) is not None


def begins_with_statement(text: str) -> bool:
    """Return whether a text begins with a statement of an answer.

    Example:
        >>> begins_with_statement("Answer: 5"), begins_with_statement("So the answer is 5")
        (True, False)
    """
    return _STATEMENT.match(text) is not None


def after_statement(text: str) -> str | None:
    """Return what follows the last statement of an answer, or ``None`` if there is none.

    Example:
        >>> after_statement("The answer is 5. This answer is right."), after_statement("5")
        (' 5. This answer is right.', None)
    """
    *_, last = [None, *_STATEMENT.finditer(text)]
    return None if last is None else text[last.end() :]
