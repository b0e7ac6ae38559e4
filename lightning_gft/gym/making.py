"""What worker processes do with reasoning-gym: make entries and score answers."""

from __future__ import annotations

import io
import json
import math
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from lightning_gft.checks import did_you_mean
from lightning_gft.errors import GFTValueError
from lightning_gft.gym.entries import GymEntry, read_entry
from lightning_gft.gym.evaluators import running_no_code

CHUNK = 1000
"""Entries of a data set of reasoning-gym: making one is slow for some tasks, as they read all their problems."""
NONSENSE = "?"


@dataclass(frozen=True)
class EntryRequest:
    """An entry to make.

    Args:
        task: Name of the task in reasoning-gym.
        config: Its settings.
        seed: The data set's.
        index: Its place in the data set.
        tries_others: Whether to score other answers than its own.
    """

    task: str
    config: Mapping[str, Any]
    seed: int
    index: int
    tries_others: bool = False


class _Worker:
    """A task of a worker pool, which has imported reasoning-gym before its first item."""

    def preload(self) -> None:
        import reasoning_gym  # noqa: F401 (an extra, and slow)


class EntryMaker(_Worker):
    """Makes an entry, which follows from the request alone, as long as texts hash the same in every worker."""

    def __call__(self, request: EntryRequest) -> GymEntry:
        """Return the entry with the scores that its scorer gives."""
        with _own_output():
            dataset = _dataset(request.task, json.dumps(request.config), request.seed, CHUNK)
            random.seed(request.seed + request.index)  # a task may draw from there, too
            np.random.seed(request.seed + request.index)
            entry = dataset[request.index]
            own = entry["answer"]
            scores = {} if own is None else {"own": _score(dataset, own, entry)}
            if request.tries_others:
                scores["nonsense"] = _try(dataset, NONSENSE, entry)
                other = dataset[(request.index + 1) % CHUNK]["answer"]
                if other not in (None, own):
                    scores["other"] = _try(dataset, other, entry)
        return GymEntry(request.task, request.config, entry, scores)


class AnswerScorer(_Worker):
    """Scores an answer by the task's own scorer, which runs no part of it as code.

    Args:
        threshold: A score of at least this is 1, any other 0; ``None`` keeps it.
    """

    def __init__(self, threshold: float | None) -> None:
        self.threshold = threshold

    def __call__(self, item: tuple[str, str]) -> float:
        """Return the score of an answer; the item is the row's entry as it is written there, and the answer."""
        text, answer = item
        stored = read_entry(text)
        with _own_output():
            score = _score(_dataset(stored.task, json.dumps(stored.config)), answer, stored.entry)
        return score if self.threshold is None else float(score >= self.threshold)


def _score(dataset: Any, answer: str, entry: Mapping[str, Any]) -> float:
    with running_no_code(type(dataset)):
        score = float(dataset.score_answer(answer, {**entry}))
    if not math.isfinite(score):
        raise GFTValueError(f"the scorer of reasoning-gym: expected a finite score, got {score}")
    return score


def _try(dataset: Any, answer: str, entry: Mapping[str, Any]) -> float:
    """Return the score of an answer which may make the scorer raise."""
    try:
        return _score(dataset, answer, entry)
    except Exception:  # noqa: BLE001 (as some do where an answer is not what they expect)
        return 0.0


@lru_cache(maxsize=256)
def _dataset(task: str, config: str, seed: int = 0, size: int = 1) -> Any:
    from reasoning_gym.factory import DATASETS, create_dataset

    if task not in DATASETS:
        raise GFTValueError(
            f"the entry's task: expected one of the installed reasoning-gym, got {task!r}"
            + did_you_mean(task, DATASETS)
        )
    return create_dataset(task, seed=seed, size=size, **json.loads(config))


@contextmanager
def _own_output() -> Iterator[None]:
    """Keep to itself what a task prints."""
    with redirect_stdout(io.StringIO()):
        yield
