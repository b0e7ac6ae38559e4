"""Makes texts of a run safe for a page; every text of a run passes through here.

A response may contain anything: markup, escape sequences of terminals, marks that reverse the direction of writing,
invisible characters, half of a surrogate pair. The page shows all of them as text, without effect.
"""

from __future__ import annotations

import html
import json

import regex

LONGEST = 100_000
"""Characters of one text that a page shows by default."""
_UNSEEN = regex.compile(r"(?V1)[[\p{C}\p{Zl}\p{Zp}\u115F\u1160\u3164\uFFA0]--[\n\t]]")
"""Control, format, surrogate, private and unassigned characters, line separators, and letters without a shape."""
_JOINER = regex.compile(r"(?<=[^\x00-\x7F])[\u200C\u200D](?=[^\x00-\x7F])")
"""Joiners that scripts and emoji need: those between two characters that are not ASCII."""


def visible(text: object, limit: int = LONGEST) -> str:
    r"""Return a text with its invisible characters spelled out; a truncated text ends with its full length.

    Args:
        text: Any object; ``bytes`` are decoded as UTF-8, and invalid bytes are spelled out.
        limit: Characters of the text to keep.

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
    if not (kept.isascii() and kept.isprintable()):  # the fast path, for most tokens
        kept = _written_out(kept)
    return kept if len(whole) <= limit else f"{kept}… ({len(whole):,} characters, {limit:,} shown)"


def escape(text: object, limit: int = LONGEST) -> str:
    """Return a :func:`visible` text escaped for HTML, including the quotes of attributes.

    Example:
        >>> escape('<b title="x">')
        '&lt;b title=&quot;x&quot;&gt;'
    """
    return html.escape(visible(text, limit))


def isolated(text: object, limit: int = LONGEST) -> str:
    """Return an escaped text whose writing direction does not affect the text around it.

    Example:
        >>> isolated("a < b")
        '<bdi>a &lt; b</bdi>'
    """
    return f"<bdi>{escape(text, limit)}</bdi>"


def json_block(data: object) -> str:
    r"""Return data as JSON for a ``<script type="application/json">``, with visible texts.

    Raises:
        ValueError: If a number is not finite, which JSON cannot represent; pass ``None`` instead.

    Example:
        >>> print(json_block({"text": "</script>", "values": [1, None]}))
        {"text":"\u003c/script>","values":[1,null]}
    """
    # Without "<" no markup can begin; json itself escapes all characters that are not ASCII.
    return json.dumps(_all_visible(data), allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _written_out(text: str) -> str:
    joiners = {match.start() for match in _JOINER.finditer(text)}
    shown: str = _UNSEEN.sub(lambda match: match[0] if match.start() in joiners else _named(match[0]), text)
    return shown


def _named(character: str) -> str:
    code = ord(character)
    is_byte = 0xDC80 <= code <= 0xDCFF  # Python's surrogates for bytes that are not UTF-8
    return f"[byte {code - 0xDC00:02X}]" if is_byte else f"[U+{code:04X}]"


def _all_visible(data: object) -> object:
    if isinstance(data, str | bytes):
        return visible(data)
    if isinstance(data, dict):
        return {visible(key): _all_visible(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [value if isinstance(value, int | float) else _all_visible(value) for value in data]
    return data
