r"""Converts typeset numbers and LaTeX to plain characters: ``\dfrac{3}{4}``, ``1\,234``, ``½`` and ``−5``."""

from __future__ import annotations

import re
import unicodedata

_SPACES = "\t\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_MINUSES = "\u2010\u2011\u2012\u2013\u2212\u207b\ufe63\uff0d"
_INVISIBLE = "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
# Full-width forms, U+FF01 to U+FF5E, are in the order of ASCII.
_CHARACTERS = {
    **{0xFF01 + number: chr(0x21 + number) for number in range(94)},
    **dict.fromkeys(map(ord, _SPACES), " "),
    **dict.fromkeys(map(ord, _MINUSES), "-"),
    **dict.fromkeys(map(ord, _INVISIBLE), None),
    **dict.fromkeys(map(ord, "\u2044\u2215\u00f7"), "/"),
    **dict.fromkeys(map(ord, "\u00d7\u22c5\u00b7\u2217\u2219"), "*"),
    **dict.fromkeys(map(ord, "$\uff04\u20ac\u00a3\u00a5\u20b9\u20a9\uffe5\uffe1\uffe0\u00a2"), None),
    **dict.fromkeys(map(ord, "\u2018\u2019\u02bc"), "'"),
}
_VULGAR = re.compile("([0-9] ?)?([\u00bc-\u00be\u2150-\u215e])")
"""A fraction of a single character, optionally after a whole number."""
_DECORATION = str.maketrans(_CHARACTERS)
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_SUPERSCRIPT = re.compile("[⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+")

_BREAK = " ; "
_ENDING = (
    *(r"\\", r"\[", r"\]", r"\begin", r"\end", r"\newline", r"\hline", r"\item", r"\par", r"\tag", r"\label"),
    *(r"\therefore", r"\because", r"\implies", r"\Rightarrow", r"\Longrightarrow", r"\rightarrow", r"\to", r"\iff"),
    *(r"\dots", r"\ldots", r"\cdots", r"\square", r"\blacksquare", r"\Box", r"\checkmark", r"\mid"),
)
"""Commands at which an expression ends."""
_REPLACED = {
    **dict.fromkeys([r"\,", r"\;", r"\:", r"\ ", r"\quad", r"\qquad"], " "),
    **dict.fromkeys([r"\!", r"\(", r"\)", r"\left", r"\right", r"\displaystyle", r"\limits", r"\bigl"], ""),
    **dict.fromkeys([r"\big", r"\Big", r"\bigr", r"\Bigl", r"\Bigr", r"\pounds", r"\euro"], ""),
    **dict.fromkeys([r"\dfrac", r"\tfrac", r"\cfrac"], r"\frac"),
    **dict.fromkeys([r"\times", r"\cdot", r"\ast"], "*"),
    **dict.fromkeys([r"\le", r"\leq", r"\leqslant", r"\lt"], "≤"),
    **dict.fromkeys([r"\ge", r"\geq", r"\geqslant", r"\gt"], "≥"),
    **dict.fromkeys([r"\ne", r"\neq"], "≠"),
    **dict.fromkeys([r"\approx", r"\simeq", r"\sim", r"\equiv", r"\doteq"], "="),
    **dict.fromkeys(_ENDING, _BREAK),
    r"\div": "/",
    r"\pm": "±",
    r"\mp": "∓",
    r"\%": "%",
    r"\#": "#",
    r"\&": "&",
    r"\{": "{",
    r"\}": "}",
    r"\degree": "°",
    r"\circ": "°",
}
_COMMAND = re.compile(r"\\(?:[a-zA-Z]+|.)", re.DOTALL)
_WRAPPED = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|normal)?|math(?:rm|bf|it|sf|tt|bb)|mbox|hbox|emph|underline|operatorname|boldsymbol)"
    r"\*?\s*\{([^{}]*)\}"
)
_DEGREES = re.compile(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![a-zA-Z]))")
_BRACED = re.compile(r"\^ ?[{(] ?([-+]? ?[0-9]+) ?[})]")
_BOLD = re.compile(r"(?<![\w)\]}])\*\*|\*\*(?![\w(\[{\\])")
_SPACE = re.compile(" {2,}")
_BOX = re.compile(r"(?P<box>\\(?:boxed|fbox)\s*+(?P<open>\{?))|\\.|[{}]", re.DOTALL)
# Only attributes separate a tag's name from its end, so that "a <b and c> 5" stays unchanged.
# Possessive: an attribute without a closing ">" is scanned once, however many spaces it holds.
_TAG = re.compile(r"</?[A-Za-z][\w-]*+(?:\s++[\w-]++=[^<>]*+)?+\s*+/?>|<\|[^<>|\s]{1,40}\|>")


def plain(text: str) -> str:
    r"""Return a text in plain characters, without currency signs and layout.

    Minus signs, spaces, full-width forms, fractions of a single character and superscripts become ASCII. LaTeX's
    spaces, fonts, delimiters and operators become the characters that they print. Unknown commands stay.

    Example:
        >>> plain("\u2212$1\\,234{,}5 \\text{ cm}\u00b2")
        '-1 234,5 cm^2'
        >>> plain(r"3\u00bd \\times 10^{3}".encode().decode("unicode_escape"))
        '3 1/2 * 10^3'
    """
    text = text.replace("\\$", "")
    if not text.isascii():
        text = spell_out_fractions(text)
    text = text.translate(_DECORATION)
    if not text.isascii():
        text = spell_out_powers(text)
    if "\\" in text:
        text = _DEGREES.sub("°", text)
        text = _WRAPPED.sub(r" \1", text)
        text = _COMMAND.sub(lambda match: _REPLACED.get(match[0], match[0]), text)
    if "^" in text:
        text = _BRACED.sub(r"^\1", text)
    if "{,}" in text:
        text = text.replace("{,}", ",")
    if "**" in text:
        text = _BOLD.sub(" ", text)
    if "<" in text:
        text = _TAG.sub(_BREAK, text)
    if "~" in text:
        text = text.replace("~", " ")
    return _SPACE.sub(" ", text) if "  " in text else text


def spell_out_fractions(text: str) -> str:
    """Write fractions of a single character as ``1/2``, after a space if a whole number precedes them.

    Example:
        >>> spell_out_fractions("3\u00bd")
        '3 1/2'
    """
    return _VULGAR.sub(_spelled_out, text)


def spell_out_powers(text: str) -> str:
    """Write superscripts as ``^{12}``.

    Example:
        >>> spell_out_powers("x\u00b9\u00b2")
        'x^{12}'
    """
    return _SUPERSCRIPT.sub(lambda match: f"^{{{match[0].translate(_SUPERSCRIPTS)}}}", text)


def _spelled_out(match: re.Match[str]) -> str:
    fraction = unicodedata.normalize("NFKC", match[2]).replace("\u2044", "/")
    return f"{match[1].rstrip()} {fraction}" if match[1] else fraction


def boxed(text: str, first: bool) -> str | None:
    r"""Return the content of the first or the last ``\boxed`` of a text, or ``None`` if there is none.

    The innermost of nested boxes counts. A box that is never closed extends to the end of the text.

    Example:
        >>> boxed(r"so \boxed{\frac{3}{4}}", first=False)
        '\\frac{3}{4}'
    """
    command = "\\boxed" if "\\boxed" in text else "\\fbox"
    start = text.find(command) if first else text.rfind(command)
    return None if start < 0 else read_box(text, start)[0]


def read_box(text: str, start: int) -> tuple[str, int]:
    r"""Return the content of the box that begins at ``start``, and the index after it; see :func:`boxed`.

    Example:
        >>> read_box(r"\boxed{7} apples", 0)
        ('7', 9)
    """
    depth = 0
    for match in _BOX.finditer(text, start):
        if match["box"]:
            start, depth = match.end(), 1
            if not match["open"]:
                return text[start : start + 1], start + 1
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if depth == 0:
            return text[start : match.start()], match.end()
    return text[start:], len(text)
