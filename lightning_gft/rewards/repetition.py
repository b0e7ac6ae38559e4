"""A penalty for repeating oneself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import regex
from torch import Tensor
from typing_extensions import override

from lightning_gft.checks import check_count, check_number
from lightning_gft.rewards.base import Reward

_WORDS = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}]"  # written without spaces
    r"|[\w--\p{Han}--\p{Hiragana}--\p{Katakana}--\p{Thai}--\p{Lao}--\p{Khmer}--\p{Myanmar}--\p{Tibetan}]+"
    r"|[^\w\s]",
    regex.VERSION1,
)


class RepetitionPenalty(Reward):
    r"""The share of n-grams that are repeats, times the highest penalty: 0 or below (arXiv 2502.03373, appendix C.2).

    With :math:`m` n-grams in a response, :math:`u` of them different,

    .. math::
        R(y) = (1 - u / m) \cdot \text{max\_penalty}

    and 0 for a response of fewer than ``ngram_size`` words. Words are counted in lower case, each other sign is one by
    itself, and so is each character of a script that has no spaces between words; TRL counts tokens instead. Evaluation
    never calls a response correct by it.

    Args:
        ngram_size: Words of an n-gram.
        max_penalty: What a response would get that is all repetition, 0 or below.
        weight: What the score counts in the total.

    Raises:
        ValueError: If ``ngram_size`` is below 1, or ``max_penalty`` above 0.
        TypeError: If one is no number.

    Example:
        >>> reward = RepetitionPenalty(ngram_size=2)
        >>> texts = {"prompts": ["?"] * 3, "references": [None] * 3}
        >>> reward(**texts, responses=["one two three", "no no no no no", "no"])
        [0.0, -0.75, 0.0]
    """

    def __init__(self, ngram_size: int = 3, max_penalty: float = -1.0, weight: float = 1.0) -> None:
        super().__init__(weight)
        of = type(self).__name__
        self.ngram_size = check_count("ngram_size", ngram_size, of=of)
        self.max_penalty = check_number("max_penalty", max_penalty, most=0, of=of)

    def __call__(
        self, *, prompts: Sequence[str], responses: Sequence[str], references: Sequence[Any], **columns: Sequence[Any]
    ) -> Tensor | Sequence[float | None]:
        """Return ``N`` penalties; see :meth:`Reward.__call__`."""
        return [self._penalty(response) for response in responses]

    @override
    def measures(self) -> bool:
        return False

    def _penalty(self, response: str) -> float:
        words = _WORDS.findall(response.lower())
        ngrams = [*zip(*(words[start:] for start in range(self.ngram_size)), strict=False)]
        if not ngrams:
            return 0.0
        return (1 - len({*ngrams}) / len(ngrams)) * self.max_penalty + 0.0  # and never -0
