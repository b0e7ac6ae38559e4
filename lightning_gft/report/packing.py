"""Packs the tokens of a response for a page: the text once, with compact columns of rounded numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from lightning_gft.report.text import visible
from lightning_gft.samples import SampledResponse, TokenFigures

Column = list[Any] | float | None
"""One number per token, or a single one if all tokens share it."""
_LONGEST_TOKEN = 200
"""Characters of one token to show."""


class Packed(NamedTuple):
    """The packed tokens of a response.

    Args:
        text: The text to show; the tokens come first.
        columns: Number of ``tokens``; the ``length`` of each in UTF-16 units, as in browsers; ``nll`` in thousandths
            of a nat; ``factor``; ``coefficient``, or ``null`` if it is ``scale`` times the factor; ``entropy`` in
            hundredths of a nat. Unknown values are ``null``.
        rectified: Number of tokens whose factor is not 1, among all tokens.
    """

    text: str
    columns: dict[str, Column]
    rectified: int


def pack(response: SampledResponse, trained: TokenFigures, limit: int) -> Packed:
    """Pack the tokens of a response.

    Args:
        response: A response that was trained on.
        trained: The figures of its tokens.
        limit: Characters to show.

    Example:
        >>> trained = TokenFigures(["4", "2"], [-0.5, -2.0], [0.8, 0.1082], [1.0, 0.1353])
        >>> response = SampledResponse(0, "self", "42", "stop", 2, 1.0, {}, advantage=0.8, trained=trained)
        >>> text, columns, rectified = pack(response, trained, limit=100)
        >>> text, columns["length"], columns["nll"], columns["factor"], rectified
        ('42', 1, [500, 2000], [1, 0.1353], 1)
        >>> columns["scale"], columns["coefficient"]
        (0.8, None)
    """
    texts = _shown_texts(trained.tokens, limit)
    kept = len(texts)
    scale = _scale(trained, response.advantage)
    columns: dict[str, Column] = {
        "tokens": kept,
        "length": _column([len(text.encode("utf-16-le")) // 2 for text in texts], round),
        "nll": _column(trained.logprobs[:kept], lambda logprob: round(-1000 * logprob)),
        "factor": _column(trained.factors[:kept], _rounded_factor),
        "coefficient": None if scale is not None else _column(trained.coefficients[:kept], _rounded),
        "scale": scale,
        "entropy": _column((trained.entropies or [])[:kept], lambda entropy: round(100 * entropy)),
    }
    rectified = sum(factor != 1 and not math.isnan(factor) for factor in trained.factors)
    return Packed("".join(texts) + _rest(response, kept), columns, rectified)


def _shown_texts(tokens: Sequence[str], limit: int) -> list[str]:
    texts = list[str]()
    for token in tokens:
        texts.append(visible(token, _LONGEST_TOKEN))
        limit -= len(texts[-1])
        if limit <= 0:
            break
    return texts


def _rest(response: SampledResponse, kept: int) -> str:
    return "" if kept >= response.completion_length else f"… ({response.completion_length:,} tokens, {kept:,} shown)"


def _scale(trained: TokenFigures, advantage: float | None) -> float | None:
    """Return the number that multiplies the factors to the coefficients, or ``None`` if there is none."""
    for scale in (advantage, 1.0):
        if scale is not None and all(
            math.isclose(scale * factor, coefficient, rel_tol=1e-3)  # false if the factor is not known
            for factor, coefficient in zip(trained.factors, trained.coefficients, strict=True)
        ):
            return _rounded(scale)
    return None


def _column(values: Sequence[float], rounded: Callable[[float], float]) -> Column:
    known = [rounded(value) if math.isfinite(value) else None for value in values]
    return known[0] if len(set(known)) == 1 else known or None


def _rounded(value: float) -> float:
    """Return a value rounded to four digits; a whole number becomes an integer, which is shorter."""
    short = float(f"{value:.4g}")
    return int(short) if short.is_integer() else short


def _rounded_factor(factor: float) -> float:
    """Return a factor rounded to four digits, but never to 1 unless it is 1, which marks tokens not rectified."""
    short = _rounded(factor)
    return factor if short == 1 and factor != 1 else short
