"""Tasks of worker processes with reasoning-gym: generating entries and scoring answers."""

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
"""Entries of a data set of reasoning-gym. Creating a data set is slow for tasks that read all their problems."""
NONSENSE = "?"


@dataclass(frozen=True)
class EntryRequest:
    """A request to generate an entry.

    Args:
        task: Name of the task in reasoning-gym.
        config: Settings of the task by name.
        seed: Seed of the task's data set.
        index: Position of the entry in the data set.
        tries_others: Whether to also score answers other than the entry's own.
    """

    task: str
    config: Mapping[str, Any]
    seed: int
    index: int
    tries_others: bool = False


class _Worker:
    """A task for a worker pool; imports reasoning-gym before its first item."""

    def preload(self) -> None:
        import reasoning_gym  # noqa: F401 (an extra, and slow)


class EntryMaker(_Worker):
    """Generates an entry, which depends only on the request if texts hash equally in every worker."""

    def __call__(self, request: EntryRequest) -> GymEntry:
        """Return the entry, with the scores that its scorer gives to some answers."""
        with _own_output():
            dataset = _dataset(request.task, json.dumps(request.config), request.seed, CHUNK)
            random.seed(request.seed + request.index)  # for tasks that draw from the global generator
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
    """Scores an answer with the task's own scorer, which runs no part of the answer as code.

    Args:
        threshold: Least score that counts as 1; lower ones count as 0. ``None`` keeps the score.
    """

    def __init__(self, threshold: float | None) -> None:
        self.threshold = threshold

    def __call__(self, item: tuple[str, str]) -> float:
        """Return the score of an answer; the item is the entry's text in its row, and the answer."""
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
    except Exception:  # noqa: BLE001 (some scorers raise for an answer of another form)
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
    """Suppress the output that a task prints."""
    with redirect_stdout(io.StringIO()):
        yield
