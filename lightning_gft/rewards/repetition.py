"""A penalty for repetition."""

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
    r"""The share of repeated n-grams times the highest penalty: 0 or below (arXiv 2502.03373, appendix C.2).

    A response with :math:`m` n-grams, :math:`u` of them different, scores

    .. math::
        R(y) = (1 - u / m) \cdot \text{max\_penalty}

    and 0 if it has fewer than ``ngram_size`` words. Words are compared in lower case. Every other sign counts as a
    word, and so does each character of a script without spaces between words; TRL counts tokens instead. Evaluation
    never uses this reward to decide on correctness.

    Args:
        ngram_size: Number of words in an n-gram.
        max_penalty: Limit of the score of a response that only repeats itself, 0 or below.
        weight: Weight of the score in the total.

    Raises:
        ValueError: If ``ngram_size`` is below 1, or ``max_penalty`` above 0.
        TypeError: If a value that must be a number is none.

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
        return (1 - len({*ngrams}) / len(ngrams)) * self.max_penalty + 0.0  # avoids -0
