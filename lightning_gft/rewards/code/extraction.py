"""Extracts the program of a response."""

from __future__ import annotations

import re
import textwrap

_FENCE = re.compile(r"^([ \t]*)(`{3,}|~{3,})[ \t]*([^`\n]*)$", re.MULTILINE)
_PYTHON = {"", "py", "python", "python3", "python2", "py3", "ipython"}


def find_code(response: str) -> str | None:
    r"""Return the last fenced block of Python, the whole text if there is no fence, or ``None`` without a program.

    A block without a closing fence extends to the end of the text, since a stop string may have removed the fence.

    Example:
        >>> find_code("First:\n```python\nx = 1\n```\nBetter:\n```python\nx = 2\n```\nDone.")
        'x = 2\n'
        >>> find_code("```cpp\nint x;\n```") is None
        True
    """
    found, fences, fence = None, 0, None
    for match in _FENCE.finditer(response):
        fences += 1
        if fence is None:
            fence = match
        elif match[2].startswith(fence[2]) and not match[3].strip():
            found = _block(response, fence, match.start()) or found
            fence = None
    if fence is not None:
        found = _block(response, fence, len(response)) or found
    if fences:
        return found
    return response if response.strip() else None


def _block(response: str, fence: re.Match[str], end: int) -> str | None:
    words = fence[3].split()
    language = words[0].lower().strip("{}.") if words else ""
    if language not in _PYTHON:
        return None
    code = response[fence.end() + 1 : end]
    return textwrap.dedent(code) if fence[1] else code  # an indented fence, as within a list
