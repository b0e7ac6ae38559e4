"""Rounds of dynamic sampling: the scored responses to some prompts of a batch, and the size of the next round."""

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
    """A response with the index of its prompt in the batch and the name of its source."""

    prompt: int
    name: str
    source: Source
    response: Response


@dataclass(frozen=True)
class Round:
    """Scored responses to some prompts of a batch, and the time that sampling and scoring took.

    Args:
        rows: ``N`` responses, prompt by prompt.
        texts: ``N`` texts without special tokens.
        rewards: ``[N]``, total reward of each response.
        parts: Scores ``[N]`` by the name of each reward.
        answers: Answers that rewards read in the responses, by name; see :class:`~lightning_gft.GroupBatch`.
        sampling_seconds: Seconds that this rank spent on sampling.
        scoring_seconds: Seconds that this rank spent on scoring.
    """

    rows: list[Row]
    texts: list[str]
    rewards: Tensor
    parts: dict[str, Tensor]
    answers: dict[str, list[str | None]] = field(default_factory=dict)
    sampling_seconds: float = 0.0
    scoring_seconds: float = 0.0

    def differing(self) -> set[int]:
        """Return the indices of the prompts whose responses have different rewards."""
        seen: dict[int, set[float]] = {}
        for row, reward in zip(self.rows, self.rewards.tolist(), strict=True):
            seen.setdefault(row.prompt, set()).add(reward)
        return {prompt for prompt, rewards in seen.items() if len(rewards) > 1}

    def chosen(self, sources: Mapping[str, ResponseSource], seed: int, places: Sequence[int]) -> Round:
        """Return a round with only the responses that each source chooses to keep, prompt by prompt.

        Args:
            sources: Sources by the names in ``rows``.
            seed: Seed of all random choices, combined with the place of each prompt.
            places: Places of the batch's prompts in the data.
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
    """Return the number of prompts expected to yield the missing groups; it doubles the total while none differs."""
    if not differing:
        return tried or missing
    return math.ceil(missing * tried / differing)


def _check_choice(name: str, source: ResponseSource, indices: Sequence[int], count: int) -> None:
    if len(set(indices)) == len(indices) <= source.num_responses and all(0 <= index < count for index in indices):
        return
    raise GFTValueError(
        f"`sources.{name}`: expected at most {source.num_responses} different indices of {count} responses from "
        f"`choose`, got {shorten(indices)}; correct `choose`"
    )
