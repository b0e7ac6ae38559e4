r"""Canonical texts of answers: equal answers share one, as far as arithmetic without algebra can find out."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from lightning_gft.answers.judging import LONGEST_ANSWER
from lightning_gft.answers.numbers import read_quantity, write_number
from lightning_gft.answers.shapes import Shape, read_shape
from lightning_gft.answers.texts import bare, read_choice, read_words

_UNORDERED = ("list", "set", "union")


def canonical_answer(answer: Sequence[str]) -> str | None:
    r"""Return the canonical text of an answer.

    A number becomes a fraction without its unit; the elements of a set are sorted. Formulas that are equal only by
    algebra, such as ``x + 1`` and ``1 + x``, keep different texts.

    Args:
        answer: The answer's readings, as :func:`~lightning_gft.answers.judging.read_answer` returns them.

    Returns:
        The text, or ``None`` if there is no answer or it has more than ``LONGEST_ANSWER`` characters.

    Example:
        >>> canonical_answer((r"\frac{1}{2} cm",)), canonical_answer(("x = 0.50",)), canonical_answer((r"\{3, 1\}",))
        ('1/2', '1/2', 'set(1, 3)')
    """
    if not answer or max(map(len, answer)) > LONGEST_ANSWER:
        return None
    last = answer[-1]
    return _single(last) or next(filter(None, map(read_choice, answer)), None) or _text(read_shape(last)) or None


def _single(text: str) -> str | None:
    """Return the canonical text of a number or of words, or ``None`` for anything else."""
    quantity = read_quantity(text) if text[:1] not in "([" else None
    if quantity is not None:
        return write_number(quantity.value) + "%" * quantity.percent
    return read_words(text)


def _text(shape: Shape) -> str:
    if shape.kind == "one":
        return _single(shape.text) or bare(shape.text)
    if shape.kind == "ratio":
        return ":".join(_in_proportion([Fraction(part.text.strip()) for part in shape.parts]))
    parts = [f"{part.name}={_text(part)}" if part.name else _text(part) for part in shape.parts]
    if len(parts) == 1:
        return parts[0]
    if shape.kind in _UNORDERED:
        return f"{'union' if shape.kind == 'union' else 'set'}({', '.join(sorted(parts))})"
    return f"{shape.kind}{shape.ends}({', '.join(parts)})"


def _in_proportion(numbers: Sequence[Fraction]) -> list[str]:
    scale = next(filter(None, numbers), Fraction(1))
    return [write_number(number / scale) for number in numbers]
