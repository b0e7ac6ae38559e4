"""Choices of the responses of a source that a group keeps."""

from __future__ import annotations

import math
import random
import statistics
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from typing_extensions import override

from lightning_gft.checks import check_choice, check_count, check_kind, check_number
from lightning_gft.types import Candidate

Length = Literal["shortest", "longest", "median"]


class Choice(ABC):
    """An order of the responses to a prompt; a :class:`~lightning_gft.ChosenSource` keeps the first few."""

    @abstractmethod
    def order(self, candidates: Sequence[Candidate], seed: int) -> Iterable[int]:
        """Return the indices of the candidates, best first and without those that must not be kept.

        The result may be lazy: it is read only as far as needed.

        Args:
            candidates: Scored responses of one source to one prompt.
            seed: Seed of all random choices.
        """

    def reads(self) -> frozenset[str]:
        """Return the names of the rewards that it uses; by default none, which also fits a choice by the total."""
        return frozenset()


@dataclass(frozen=True)
class HighestReward(Choice):
    """Highest reward first; equal rewards in an order that the seed determines.

    Args:
        reward: Name of the reward to sort by; ``None`` sorts by the total. Responses that it does not apply to come
            last.

    Example:
        >>> from lightning_gft.types import Response
        >>> given = [Candidate(Response([n, 2]), str(n), reward=n % 3, rewards={}) for n in range(5)]
        >>> list(HighestReward().order(given, seed=0))
        [2, 4, 1, 3, 0]
    """

    reward: str | None = None

    @override
    def order(self, candidates: Sequence[Candidate], seed: int) -> Iterable[int]:
        scores = [_score(candidate, self.reward) for candidate in candidates]
        worst_last = [-math.inf if math.isnan(score) else score for score in scores]
        return sorted(_shuffled(len(candidates), seed), key=lambda index: -worst_last[index])

    @override
    def reads(self) -> frozenset[str]:
        return _named(self.reward)


@dataclass(frozen=True)
class ByLength(Choice):
    """Shortest, longest or closest to the median first; equal lengths in an order that the seed determines.

    A truncated response counts with its tokens up to the limit.

    Args:
        prefer: ``"shortest"``, ``"longest"`` or ``"median"``. Lengths are in tokens, and the median is that of the
            candidates.

    Raises:
        ValueError: If ``prefer`` is none of these.

    Example:
        >>> from lightning_gft.types import Response
        >>> given = [Candidate(Response([7] * n), "7" * n, reward=1.0, rewards={}) for n in (4, 1, 9)]
        >>> [next(iter(ByLength(prefer).order(given, seed=0))) for prefer in ("shortest", "longest", "median")]
        [1, 2, 0]
    """

    prefer: Length = "shortest"

    def __post_init__(self) -> None:
        check_choice("prefer", self.prefer, get_args(Length), of="ByLength")

    @override
    def order(self, candidates: Sequence[Candidate], seed: int) -> Iterable[int]:
        lengths = [len(candidate.response.token_ids) for candidate in candidates]
        wanted = {"shortest": min(lengths), "longest": max(lengths), "median": statistics.median(lengths)}[self.prefer]
        return sorted(_shuffled(len(lengths), seed), key=lambda index: abs(lengths[index] - wanted))


@dataclass(frozen=True)
class MostDifferent(Choice):
    """Each response is as different as possible from those before it; the seed determines the first one.

    The distance of two texts is the Jaccard distance of their sets of character n-grams (shingles; Broder 1997), in
    lower case and with each run of white space replaced by one space. It is 0 if they share all n-grams, and 1 if they
    share none. It needs no model, and works for code and any language. Each step takes the response whose nearest
    predecessor is farthest away. This is the greedy rule of max-min dispersion: its smallest distance is at least half
    of the optimum (Gonzalez 1985; Ravi et al. 1994).

    Args:
        ngram: Length of an n-gram, in characters.

    Raises:
        ValueError: If ``ngram`` is below 1.
        TypeError: If ``ngram`` is not a whole number.

    Example:
        >>> from lightning_gft.types import Response
        >>> texts = ["2 plus 2 is 4", "2 plus 2 = 4", "two and two make four"]
        >>> given = [Candidate(Response([1, 2]), text, reward=1.0, rewards={}) for text in texts]
        >>> [2 in list(MostDifferent().order(given, seed))[:2] for seed in range(3)]
        [True, True, True]
    """

    ngram: int = 5

    def __post_init__(self) -> None:
        check_count("ngram", self.ngram, of="MostDifferent")

    @override
    def order(self, candidates: Sequence[Candidate], seed: int) -> Iterator[int]:
        grams = [self._grams(candidate.text) for candidate in candidates]
        # Distances to the nearest response taken so far; ties go to the first one in the seed's order.
        nearest = dict.fromkeys(_shuffled(len(grams), seed), math.inf)
        while nearest:
            taken = max(nearest, key=nearest.__getitem__)
            del nearest[taken]
            yield taken
            for index, distance in nearest.items():
                nearest[index] = min(distance, _jaccard(grams[index], grams[taken]))

    def _grams(self, text: str) -> frozenset[str]:
        plain = " ".join(text.casefold().split())
        return frozenset(plain[start : start + self.ngram] for start in range(max(1, len(plain) - self.ngram + 1)))


@dataclass(frozen=True)
class OnlyCorrect(Choice):
    """Only correct responses, in the order of another choice; a prompt without a correct response keeps none.

    Args:
        then: Choice that orders the correct responses.
        reward: Name of the reward that decides what is correct; ``None`` uses the total.
        correct_reward: Smallest value of this reward for a correct response.

    Raises:
        ValueError: If ``correct_reward`` is infinite or NaN.
        TypeError: If ``then`` is not a choice.

    Example:
        >>> from lightning_gft.types import Response
        >>> given = [Candidate(Response([n, 2]), f"{n}", reward=n % 2, rewards={}) for n in range(4)]
        >>> sorted(OnlyCorrect().order(given, seed=0))
        [1, 3]
    """

    then: Choice = field(default_factory=MostDifferent)
    reward: str | None = None
    correct_reward: float = 1.0

    def __post_init__(self) -> None:
        check_kind("then", self.then, Choice, "MostDifferent()")
        check_number("correct_reward", self.correct_reward, of="OnlyCorrect")

    @override
    def order(self, candidates: Sequence[Candidate], seed: int) -> Iterator[int]:
        right = [n for n, candidate in enumerate(candidates) if _score(candidate, self.reward) >= self.correct_reward]
        return (right[index] for index in self.then.order([candidates[n] for n in right], seed)) if right else iter(())

    @override
    def reads(self) -> frozenset[str]:
        return _named(self.reward) | self.then.reads()


def _score(candidate: Candidate, reward: str | None) -> float:
    """Return the total, or the named reward of a response; NaN where it does not apply."""
    return candidate.reward if reward is None else candidate.rewards[reward]


def _shuffled(count: int, seed: int) -> list[int]:
    return random.Random(seed).sample(range(count), count)


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    return 1 - len(one & other) / len(one | other)


def _named(reward: str | None) -> frozenset[str]:
    return frozenset() if reward is None else frozenset({reward})
