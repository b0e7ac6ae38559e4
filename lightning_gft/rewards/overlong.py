"""A penalty for long responses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from typing_extensions import override

from lightning_gft.checks import check_count
from lightning_gft.rewards.base import ResponseFact, Reward
from lightning_gft.types import Source


class SoftOverlongReward(Reward):
    r"""Soft overlong punishment (DAPO, arXiv 2503.14476, Eq. 13): 0 or below, by the length of an own sample.

    With :math:`L` = ``max_completion_length`` and :math:`C` = ``soft_punish_cache``, a response of :math:`|y|` tokens,
    including its end, scores

    .. math::
        R(y) = \begin{cases}
            0 & |y| \le L - C \\
            ((L - C) - |y|) / C & L - C < |y| \le L \\
            -1 & |y| > L
        \end{cases}

    The paper's settings are ``max_new_tokens: 20480``, the same ``max_completion_length`` and a cache of 4096. As in
    the paper, it applies to the policy's samples, not to demonstrations. Evaluation never uses it to decide on
    correctness.

    Args:
        soft_punish_cache: Number of tokens below the longest response over which the punishment grows; 0 punishes only
            longer responses, and a number beyond the default length every response.
        max_completion_length: Length, in tokens, from which on a response gets the full punishment; by default the
            largest ``max_new_tokens`` of the sources that sample.
        weight: Weight of the score in the total.

    Raises:
        ValueError: If a length is out of range.
        TypeError: If a length is not a whole number.

    Example:
        >>> reward = SoftOverlongReward(soft_punish_cache=4, max_completion_length=8)
        >>> texts = {"prompts": ["1+1="] * 3, "responses": [""] * 3, "references": ["2"] * 3}
        >>> reward(**texts, response_tokens=[4, 5, 9], response_source=["self"] * 3)
        [0.0, -0.25, -1.0]
    """

    def __init__(self, soft_punish_cache: int, max_completion_length: int | None = None, weight: float = 1.0) -> None:
        super().__init__(weight)
        of = type(self).__name__
        self.soft_punish_cache = check_count("soft_punish_cache", soft_punish_cache, least=0, of=of)
        self.max_completion_length = max_completion_length
        if max_completion_length is not None:
            longest = check_count("max_completion_length", max_completion_length, of=of)
            self.max_completion_length = longest
            check_count("soft_punish_cache", self.soft_punish_cache, least=0, most=longest, of=of)

    def __call__(
        self, *, prompts: Sequence[str], responses: Sequence[str], references: Sequence[Any], **columns: Sequence[Any]
    ) -> Tensor | Sequence[float | None]:
        """Return ``N`` punishments; see :meth:`Reward.__call__`."""
        own, longest = Source.SELF.name.lower(), self.max_completion_length
        limits = columns["response_limit"] if longest is None else [longest] * len(responses)
        lengths, sources = columns["response_tokens"], columns["response_source"]
        return [
            self._punishment(length, limit) if source == own else None
            for length, source, limit in zip(lengths, sources, limits, strict=True)
        ]

    @override
    def needs(self) -> frozenset[ResponseFact]:
        facts = frozenset[ResponseFact]({"response_tokens", "response_source"})
        return facts | {"response_limit"} if self.max_completion_length is None else facts

    @override
    def measures(self) -> bool:
        return False

    def _punishment(self, length: int, limit: int) -> float:
        if length > limit:
            return -1.0
        beyond = length - (limit - self.soft_punish_cache)
        return -beyond / self.soft_punish_cache if beyond > 0 else 0.0
