r"""Normalises answers as LaTeX: drops commands that only affect the layout, and picks one of several spellings."""

from __future__ import annotations

import re
import unicodedata

from lightning_gft.answers.typography import spell_out_fractions, spell_out_powers

_INVISIBLE = re.compile("[\u0000-\u0008\u000e-\u001f\u007f\u00ad\u200b-\u200f\u2060\ufeff\ud800-\udfff]")
_SIGNS = r"""
    × \times; · \cdot; ⋅ \cdot; ∙ \cdot; ÷ /; ± \pm; ∓ \mp; ≤ \leq; ≥ \geq; ≠ \neq; ≈ \approx; ∞ \infty; ∪ \cup; ∩ \cap
    ∈ \in; ∅ \emptyset; ℝ \mathbb{R}; ∠ \angle; √ \sqrt; ° ^\circ
    α \alpha; β \beta; γ \gamma; δ \delta; ε \epsilon; θ \theta; λ \lambda; μ \mu; π \pi; ρ \rho; σ \sigma; τ \tau
    φ \phi; ω \omega; Δ \Delta; Σ \Sigma; Ω \Omega
"""  # noqa: RUF001
_CHARACTERS = {
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2212\ufe63\uff0d"), "-"),
    **{ord(sign): command + " " for sign, command in map(str.split, _SIGNS.replace("\n", ";").strip("; ").split(";"))},
    **{ord(digit): f"_{number}" for number, digit in enumerate("₀₁₂₃₄₅₆₇₈₉")},
}
_SPELLINGS = {
    **dict.fromkeys(["dfrac", "tfrac", "cfrac"], r"\frac"),
    **dict.fromkeys(["le", "leqslant", "leq"], r"\leq "),
    **dict.fromkeys(["ge", "geqslant", "geq"], r"\geq "),
    **dict.fromkeys(["ne", "neq"], r"\neq "),
    **dict.fromkeys(["lt"], "<"),
    **dict.fromkeys(["gt"], ">"),
    **dict.fromkeys(["sim", "simeq", "approx", "doteq"], r"\approx "),
    **dict.fromkeys(["varnothing", "emptyset"], r"\emptyset "),
    **dict.fromkeys(["lbrace"], r"\{"),
    **dict.fromkeys(["rbrace"], r"\}"),
    **dict.fromkeys(["lbrack"], "["),
    **dict.fromkeys(["rbrack"], "]"),
    **dict.fromkeys(["vert", "lvert", "rvert"], "|"),
    **dict.fromkeys(["degree"], r"^\circ "),
    **dict.fromkeys([",", ";", ":", " ", "quad", "qquad", "hspace", "enspace", "thinspace"], " "),
    **dict.fromkeys(["!", "(", ")", "[", "]", "left", "right", "displaystyle", "textstyle", "limits", "big"], ""),
    **dict.fromkeys(["Big", "bigl", "bigr", "Bigl", "Bigr", "bigg", "Bigg", "biggl", "biggr", "boldmath"], ""),
}
_FONTS = "text(?:bf|it|rm|sf|tt|sc|normal|up)?|math(?:rm|bf|it|sf|tt|cal|normal)|mbox|hbox|emph|underline|boldsymbol|bm"
_FONT = re.compile(rf"\\(?:{_FONTS})\*?\s*(?=\{{)")
_UNSEEN = re.compile(r"\\(?:[hv]?phantom|hspace|vspace|label|tag)\*?\{[^{}]*\}")
_TEXT = re.compile(r"\\text\{([^{}]*)\}")
_COMMAND = re.compile(r"\\([a-zA-Z]+|.)", re.DOTALL)
_PYTHON_POWER = re.compile(r"(?<=[\w)}\]]) ?\*\* ?(?=[\w({\\-])")
_STARS = re.compile(r"\*\*+")
_ROOT = re.compile(r"(?<![\\a-zA-Z])sqrt ?(?=[({0-9a-zA-Z\\])")
_ROOT_OF_GROUP = re.compile(r"\\sqrt ?\(([^()]*)\)")
_WORDS = {
    **dict.fromkeys(["infinity", "inf", "oo"], r"\infty "),
    **{name: rf"\{name} " for name in ("pi", "sin", "cos", "tan", "log", "ln", "exp", "theta", "alpha", "beta")},
}
_WORD = re.compile(rf"(?<![\\a-zA-Z])(?:{'|'.join(_WORDS)})(?![a-zA-Z])")
_COMPARED = {"<=": r"\leq ", ">=": r"\geq ", "!=": r"\neq "}
_SPACE = re.compile(r"\s+")
_BEFORE = ' ,;:`"*_'
_AFTER = _BEFORE + "."


def tidy(text: str) -> str:
    r"""Return an answer as normalised LaTeX.

    Digits of all scripts become ASCII, common characters become commands and plain text such as ``sqrt(3)`` becomes
    LaTeX. Commands for layout and size are removed. ``\text{}`` replaces every font.

    Example:
        >>> tidy(r"$\displaystyle\left(\dfrac{1}{2},\,-3\right)$.")
        '(\\frac{1}{2}, -3)'
        >>> tidy("2*sqrt(3) <= x**2")
        '2*\\sqrt{3} \\leq x^2'
    """
    text = _ascii(_INVISIBLE.sub("", text)).replace("{,}", ",").replace("\\$", "").replace("$", "")
    if "\\" in text:
        text = _FONT.sub(r"\\text", _UNSEEN.sub("", text))
        text = _COMMAND.sub(lambda match: _SPELLINGS.get(match[1], match[0]), text)
    if "*" in text:
        text = _STARS.sub("", _PYTHON_POWER.sub("^", text))
    if "=" in text:
        for written, command in _COMPARED.items():
            text = text.replace(written, command)
    if "sqrt" in text:
        text = _ROOT_OF_GROUP.sub(r"\\sqrt{\1}", _ROOT.sub(r"\\sqrt ", text))
    text = _WORD.sub(lambda match: _WORDS[match[0]], text)
    text = _SPACE.sub(" ", text).lstrip(_BEFORE).rstrip(_AFTER)
    text = text.removeprefix(r"\approx ").lstrip("= ").rstrip("= ")
    return _without_braces(text)


def unwrapped(text: str) -> str:
    r"""Return a normalised answer with each ``\text{}`` replaced by its words.

    Example:
        >>> unwrapped(r"\text{(B)} 12")
        '(B) 12'
    """
    return _SPACE.sub(" ", _TEXT.sub(r" \1 ", text)).lstrip(_BEFORE).rstrip(_AFTER)


def _ascii(text: str) -> str:
    if text.isascii():
        return text
    text = spell_out_powers(spell_out_fractions(text)).translate(_CHARACTERS)
    if text.isascii():
        return text
    digits = (str(unicodedata.decimal(character, character)) for character in text)
    return unicodedata.normalize("NFKC", "".join(digits))


def _without_braces(text: str) -> str:
    return text[slice(*peeled(text, "{}", _BEFORE, _AFTER)[-1])]


def peeled(text: str, pair: str, before: str, after: str) -> list[tuple[int, int]]:
    r"""Return the spans of a text without each further pair of brackets around all of it, in one pass.

    Args:
        text: Text with any number of surrounding pairs, or none.
        pair: The opening and the closing bracket, as two characters.
        before: Characters to strip at the start of a bracket's content.
        after: Characters to strip at its end.

    Example:
        >>> [slice(*span) for span in peeled("((1) )", "()", " ", " ")]
        [slice(0, 6, None), slice(1, 4, None), slice(2, 3, None)]
    """
    spans, start, stop = [(0, len(text))], 0, len(text)
    partners = _partners(text) if text[:1] == pair[0] and text[-1:] == pair[1] else {}
    while start < stop and text[start] == pair[0] and text[stop - 1] == pair[1] and partners.get(start) == stop - 1:
        start, stop = start + 1, stop - 1
        while start < stop and text[start] in before:
            start += 1
        while start < stop and text[stop - 1] in after:
            stop -= 1
        spans.append((start, stop))
    return spans


def _partners(text: str) -> dict[int, int]:
    """Return the index of the closing bracket for that of each opening one, paired as in :func:`closing`."""
    opened, partners = [], {}
    for index, character in enumerate(text):
        if character in "([{":
            opened.append(index)
        elif character in ")]}" and opened:
            partners[opened.pop()] = index
    return partners


def closing(text: str, start: int) -> int:
    r"""Return the index of the bracket that closes the one at ``start``, or -1 without one; ``]`` may close ``(``.

    Example:
        >>> closing("[1, (2)) + 3", 0)
        7
    """
    depth = 0
    for index in range(start, len(text)):
        if text[index] in "([{":
            depth += 1
        elif text[index] in ")]}":
            depth -= 1
            if depth == 0:
                return index
    return -1
