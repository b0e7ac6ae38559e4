"""Responses that a source samples ahead, before the step that trains on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from lightning_gft.types import PendingResponses, PromptBatch, Response

_MOST = 2
"""Most batches kept: the current one and the next."""


class BegunDraws:
    """Responses that are being generated or were restored from a checkpoint, by seed and place of their prompts.

    Example:
        >>> begun, prompts = BegunDraws(), PromptBatch(prompt_ids=[[1]], prompts=["a"], references=[None])
        >>> begun.recall([{"7": {0: [asdict(Response([5]))]}}])
        >>> begun.take(prompts, seed=8), begun.take(prompts, seed=7)[0][0].token_ids
        (None, [5])
    """

    def __init__(self) -> None:
        self._under_way: dict[tuple[int, tuple[int, ...]], PendingResponses] = {}
        self._recalled: dict[tuple[int, int], list[Response]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Return a state without draws: threads stay with the source that started them."""
        return {"_under_way": {}, "_recalled": dict(self._recalled)}

    def knows(self, prompts: PromptBatch, seed: int) -> bool:
        """Return whether the responses to these prompts and seed are finished or being generated."""
        places = _places(prompts)
        return (seed, places) in self._under_way or self._has_recalled(seed, places)

    def add(self, prompts: PromptBatch, seed: int, draw: PendingResponses) -> None:
        """Keep a draw until it is taken; the oldest draw is dropped if its batch was never sampled."""
        while len(self._under_way) >= _MOST:
            self._under_way.pop(next(iter(self._under_way))).give_up()
        self._under_way[seed, _places(prompts)] = draw

    def take(self, prompts: PromptBatch, seed: int) -> list[list[Response]] | None:
        """Wait for responses and return them, or ``None`` if none were started; raise the error that ended the draw."""
        places = _places(prompts)
        if self._has_recalled(seed, places):
            drawn = [self._recalled[seed, place] for place in places]
            # Those of other ranks are dropped too, otherwise later checkpoints would contain them again.
            self._recalled = {key: given for key, given in self._recalled.items() if key[0] != seed}
            return drawn
        draw = self._under_way.pop((seed, places), None)
        return None if draw is None else draw.responses()

    def memory(self) -> dict[str, Any]:
        """Wait for all draws and return this rank's responses in plain values, by seed and place."""
        known = dict(self._recalled)
        for (seed, places), draw in self._under_way.items():
            draw.settle()
            if not draw.failed():
                known |= {(seed, place): given for place, given in zip(places, draw.responses(), strict=True)}
        plain: dict[str, Any] = {}
        for (seed, place), responses in known.items():
            plain.setdefault(str(seed), {})[place] = [asdict(response) for response in responses]
        return plain

    def recall(self, memories: Sequence[Mapping[str, Any]]) -> None:
        """Restore what :meth:`memory` returned on all ranks; a draw that is missing on one rank restarts on all."""
        self._recalled = {
            (int(seed), place): [Response(**response) for response in responses]
            for memory in memories
            for seed, of_places in memory.items()
            if all(seed in other for other in memories)
            for place, responses in of_places.items()
        }

    def give_up(self) -> None:
        """Cancel all draws and end their threads."""
        while self._under_way:
            self._under_way.popitem()[1].give_up()

    def _has_recalled(self, seed: int, places: Sequence[int]) -> bool:
        return bool(self._recalled) and all((seed, place) in self._recalled for place in places)


def _places(prompts: PromptBatch) -> tuple[int, ...]:
    return tuple(range(len(prompts)) if prompts.places is None else prompts.places)
