"""Text of a run, made safe to stand in a page: the one place that all of it goes through.

A response may hold anything: markup, escape sequences of terminals, marks that turn the direction of writing around,
characters that cannot be seen, half of a surrogate pair. All of it is shown as text, and nothing of it acts.
"""

from __future__ import annotations

import html
import json

import regex

LONGEST = 100_000
"""Characters of one text that a page shows unless its caller says how many."""
_UNSEEN = regex.compile(r"(?V1)[[\p{C}\p{Zl}\p{Zp}\u115F\u1160\u3164\uFFA0]--[\n\t]]")
"""Controls, format characters, surrogates, private and unassigned ones, line ends, and letters without a shape."""
_JOINER = regex.compile(r"(?<=[^\x00-\x7F])[\u200C\u200D](?=[^\x00-\x7F])")
"""Joiners where scripts and emoji need them, between two characters that are not ASCII."""


def visible(text: object, limit: int = LONGEST) -> str:
    r"""Return a text in which each unseen character is written out, and which ends with its length if it is cut.

    Args:
        text: Any object; ``bytes`` are read as UTF-8, and bytes that are not UTF-8 are written out.
        limit: Characters of the text that are kept.

    Example:
        >>> visible("\x1b[31mred\u202e")
        '[U+001B][31mred[U+202E]'
        >>> visible("abcdef", limit=2)
        'ab… (6 characters, 2 shown)'
        >>> visible(b"caf\xe9")
        'caf[byte E9]'
    """
    whole = text.decode("utf-8", errors="surrogateescape") if isinstance(text, bytes) else str(text)
    kept = whole[:limit]
    if not (kept.isascii() and kept.isprintable()):  # which most tokens are
        kept = _written_out(kept)
    return kept if len(whole) <= limit else f"{kept}… ({len(whole):,} characters, {limit:,} shown)"


def escape(text: object, limit: int = LONGEST) -> str:
    """Return a :func:`visible` text that HTML shows as it is, also within the quotes of an attribute.

    Example:
        >>> escape('<b title="x">')
        '&lt;b title=&quot;x&quot;&gt;'
    """
    return html.escape(visible(text, limit))


def isolated(text: object, limit: int = LONGEST) -> str:
    """Return an escaped text whose direction of writing stays its own affair.

    Example:
        >>> isolated("a < b")
        '<bdi>a &lt; b</bdi>'
    """
    return f"<bdi>{escape(text, limit)}</bdi>"


def json_block(data: object) -> str:
    r"""Return data as JSON that stands in a ``<script type="application/json">``, its texts made visible.

    Raises:
        ValueError: If a number is not finite, which JSON does not know; pass ``None``.

    Example:
        >>> print(json_block({"text": "</script>", "values": [1, None]}))
        {"text":"\u003c/script>","values":[1,null]}
    """
    # Without "<" no markup begins. What else is not ASCII is escaped by json itself.
    return json.dumps(_all_visible(data), allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _written_out(text: str) -> str:
    joiners = {match.start() for match in _JOINER.finditer(text)}
    shown: str = _UNSEEN.sub(lambda match: match[0] if match.start() in joiners else _named(match[0]), text)
    return shown


def _named(character: str) -> str:
    code = ord(character)
    is_byte = 0xDC80 <= code <= 0xDCFF  # where Python keeps bytes that are not UTF-8
    return f"[byte {code - 0xDC00:02X}]" if is_byte else f"[U+{code:04X}]"


def _all_visible(data: object) -> object:
    if isinstance(data, str | bytes):
        return visible(data)
    if isinstance(data, dict):
        return {visible(key): _all_visible(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [value if isinstance(value, int | float) else _all_visible(value) for value in data]
    return data
