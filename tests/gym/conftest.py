"""Data of reasoning-gym without worker processes, which some tests start all the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from lightning_gft.gym import datamodule
from lightning_gft.gym.datamodule import ReasoningGymDataModule
from lightning_gft.gym.tasks import GymTask
from lightning_gft.rewards.failures import Failed, describe
from tests.data.conftest import _cache, make_tokenizer, tokenizer

__all__ = ["_cache", "in_process", "make_data", "make_tokenizer", "tokenizer"]

MakeData = Callable[..., ReasoningGymDataModule]
SUMS = GymTask("chain_sum", config={"max_terms": 2, "max_digits": 2})
WORDS = GymTask("spell_backward", config={"max_word_len": 5})


class InProcess:
    """A worker pool that works where it is."""

    def __init__(self, task: Callable[[Any], Any], **_: Any) -> None:
        self.task = task

    def __enter__(self) -> InProcess:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def map(self, items: Sequence[Any]) -> list[Any]:
        return [self._result(item) for item in items]

    def _result(self, item: Any) -> Any:
        try:
            return self.task(item)
        except Exception as error:  # noqa: BLE001 (as the pool does)
            return Failed("error", describe(error))


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datamodule, "WorkerPool", InProcess)


@pytest.fixture
def make_data(in_process: None, tokenizer: Any) -> MakeData:
    """Return a builder of small datamodules, which have their tokenizer and generate where they are."""

    def build(tasks: dict[str, GymTask | None] | None = None, **arguments: Any) -> ReasoningGymDataModule:
        sizes = {"size": 24, "val_size": 4, "test_size": 4, "batch_size": 4}
        data = ReasoningGymDataModule(tasks or {"sums": SUMS, "words": WORDS}, **{**sizes, **arguments})
        data.tokenizer = tokenizer
        return data

    return build
