"""Parameters for sampling responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import InitVar, dataclass

from lightning_gft.checks import check_count, check_number, check_texts
from lightning_gft.errors import GFTValueError

_MIN_NEW_TOKENS = "it can be no more than max_new_tokens"


@dataclass(frozen=True)
class SamplingParams:
    """Sampling parameters, with the names that ``transformers`` uses.

    They apply in the order of ``generate``: tokens that end a response are masked until ``min_new_tokens``; then
    temperature, ``top_k``, ``top_p`` and ``min_p`` apply, each to the tokens left by the previous one. The
    log-probabilities of a response are those before any of this.

    Args:
        max_new_tokens: Longest response, in tokens, including the token that ends it.
        temperature: Divisor of the logits. 0 is greedy decoding; near 0 the most likely token is sampled as well.
        top_p: Keeps the smallest set of tokens whose probabilities sum to at least ``top_p``; 1 keeps all.
        top_k: Keeps the ``top_k`` most likely tokens; 0 keeps all.
        min_p: Keeps tokens at least ``min_p`` times as likely as the most likely one; ``None`` keeps all.
        min_new_tokens: Number of tokens before which no token that ends a response is sampled.
        stop_strings: One or several texts that end a response and remain in it; empty for none.
        of: The part whose options these are, for errors.

    Raises:
        TypeError: If a value is not a number, or a stop string not a text.
        ValueError: If a number is out of range, or a stop string is empty.

    Example:
        >>> SamplingParams(max_new_tokens=16, temperature=0.0).greedy
        True
        >>> SamplingParams(stop_strings="Question:").stop_strings
        ('Question:',)
    """

    max_new_tokens: int = 256
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float | None = None
    min_new_tokens: int = 0
    stop_strings: Sequence[str] = ""
    of: InitVar[str] = "SamplingParams"

    def __post_init__(self, of: str) -> None:
        longest = check_count("max_new_tokens", self.max_new_tokens, of=of)
        checked = {
            "max_new_tokens": longest,
            "temperature": check_number("temperature", self.temperature, least=0, of=of, remedy="0 is greedy decoding"),
            "top_p": check_number("top_p", self.top_p, above=0, most=1, of=of, remedy="1 keeps every token"),
            "top_k": check_count("top_k", self.top_k, least=0, of=of, remedy="0 keeps every token"),
            "min_new_tokens": check_count(
                *("min_new_tokens", self.min_new_tokens), least=0, most=longest, of=of, remedy=_MIN_NEW_TOKENS
            ),
            "stop_strings": check_texts("stop_strings", self.stop_strings, of=of),
        }
        if self.min_p is not None:
            checked["min_p"] = check_number("min_p", self.min_p, least=0, most=1, of=of, otherwise="null")
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @property
    def greedy(self) -> bool:
        """Whether decoding takes the most likely token at every position."""
        return self.temperature == 0

    def check_several(self, field: str, count: int, of: str) -> None:
        """Raise an error for several responses per prompt if decoding is greedy and all would be equal.

        Args:
            field: Name of the option with the number of responses.
            count: Value of the option.
            of: The part that has the option.

        Raises:
            ValueError: If the number is above 1 and decoding is greedy.
        """
        if self.greedy and count > 1:
            raise GFTValueError(
                f"`{field}` of {of}: expected 1 with temperature=0, got {count}; greedy decoding gives the same "
                f"response each time, so set {field}=1 or a temperature above 0"
            )
