"""Scored responses to some prompts of a batch, and how many prompts come next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from lightning_gft.checks import shorten
from lightning_gft.errors import GFTValueError
from lightning_gft.seeds import combine_seeds
from lightning_gft.sources import ResponseSource
from lightning_gft.types import Candidate, Response, Source


@dataclass(frozen=True)
class Row:
    """A response, the number of its prompt in the batch, and the name of the source that gave it."""

    prompt: int
    name: str
    source: Source
    response: Response


@dataclass(frozen=True)
class Round:
    """Scored responses to some prompts of a batch, and the seconds that it took to get and to score them.

    Args:
        rows: The ``N`` responses.
        texts: Their texts.
        rewards: ``[N]``, what they are worth in total.
        parts: ``[N]`` for each reward by its name.
        answers: See :class:`~lightning_gft.GroupBatch`.
        sampling_seconds: Of this rank.
        scoring_seconds: Of this rank.
    """

    rows: list[Row]
    texts: list[str]
    rewards: Tensor
    parts: dict[str, Tensor]
    answers: dict[str, list[str | None]] = field(default_factory=dict)
    sampling_seconds: float = 0.0
    scoring_seconds: float = 0.0

    def differing(self) -> set[int]:
        """Return the prompts whose responses have not all the same reward."""
        seen: dict[int, set[float]] = {}
        for row, reward in zip(self.rows, self.rewards.tolist(), strict=True):
            seen.setdefault(row.prompt, set()).add(reward)
        return {prompt for prompt, rewards in seen.items() if len(rewards) > 1}

    def chosen(self, sources: Mapping[str, ResponseSource], seed: int, places: Sequence[int]) -> Round:
        """Return the round with the responses that each source keeps of those it gave to a prompt.

        Args:
            sources: By the names that the rows have.
            seed: Every random choice follows from it and from the prompt's place.
            places: Positions of the batch's prompts.
        """
        given: dict[tuple[int, str], list[int]] = {}
        for n, row in enumerate(self.rows):
            given.setdefault((row.prompt, row.name), []).append(n)
        kept: set[int] = set()
        for (prompt, name), here in given.items():
            source = sources[name]
            indices = source.choose([self._candidate(n) for n in here], combine_seeds(seed, places[prompt]))
            _check_choice(name, source, indices, len(here))
            kept.update(here[index] for index in indices)
        if len(kept) == len(self.rows):
            return self
        left = sorted(kept)
        return replace(
            self,
            rows=[self.rows[n] for n in left],
            texts=[self.texts[n] for n in left],
            rewards=self.rewards[left],
            parts={name: part[left] for name, part in self.parts.items()},
            answers={name: [answers[n] for n in left] for name, answers in self.answers.items()},
        )

    def _candidate(self, n: int) -> Candidate:
        rewards = {name: float(part[n]) for name, part in self.parts.items()}
        return Candidate(self.rows[n].response, self.texts[n], float(self.rewards[n]), rewards)


def size_of_round(missing: int, tried: int, differing: int) -> int:
    """Return how many prompts should yield the missing groups; twice as many are tried in all while none differs."""
    if not differing:
        return tried or missing
    return math.ceil(missing * tried / differing)


def _check_choice(name: str, source: ResponseSource, indices: Sequence[int], count: int) -> None:
    if len(set(indices)) == len(indices) <= source.num_responses and all(0 <= index < count for index in indices):
        return
    raise GFTValueError(
        f"`sources[{name!r}]`: expected a choice of at most {source.num_responses} of {count} responses by different "
        f"indices, got {shorten(indices)}; correct its `choose`"
    )
