"""Batches that come next, looked at without taking them."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch.utils.data import DistributedSampler

from lightning_gft.data import PromptLoader, ResumableDataLoader
from tests.module.runs import Rows, fit, make_module

LETTERS = "abcdefghij"


def loader_of(rank: int = 0, **settings: Any) -> ResumableDataLoader:
    sampler = DistributedSampler(LETTERS, 2, rank, shuffle=True, seed=5)  # type: ignore[arg-type]
    return ResumableDataLoader(LETTERS, sampler=sampler, batch_size=2, **settings)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("num_workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_what_was_foretold_comes(rank: int, num_workers: int):
    loader = loader_of(rank, num_workers=num_workers)
    for epoch in range(3):
        batches = iter(loader)
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]  # as Lightning does, once it has the iterator
        foretold = loader.upcoming(10)
        assert len(foretold) == 3
        for number, batch in enumerate(batches):
            assert batch == foretold[number]
            assert loader.upcoming(10) == foretold[number + 1 :]
            assert loader.upcoming(1) == foretold[number + 1 : number + 2]


def test_looking_ahead_draws_no_random_number_and_moves_nothing():
    looked, other = loader_of(), loader_of()
    torch.manual_seed(3)
    random.seed(3)
    left = iter(looked)
    first = next(left)
    looked.upcoming(2)
    states = torch.get_rng_state(), random.getstate()
    looked.upcoming(3)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert looked.state_dict()["batches"] == 1
    assert [first, *left] == [*other]


def test_a_resumed_pass_foretells_from_where_it_is():
    whole = [*loader_of()]
    resumed = loader_of()
    resumed.load_state_dict({**resumed.state_dict(), "epoch": 0, "batches": 1})
    batches = iter(resumed)
    assert next(batches) == whole[1]
    assert resumed.upcoming(5) == whole[2:]


def test_an_order_that_is_drawn_as_it_goes_foretells_nothing():
    assert PromptLoader(LETTERS, batch_size=2, shuffle=True).upcoming(2) == []
    assert PromptLoader(LETTERS, batch_size=2).upcoming(2) == [["a", "b"], ["c", "d"]]
    assert PromptLoader(LETTERS, batch_size=None).upcoming(2) == []


class Foretold(Callback):
    """Notes each batch with those that were foretold then."""

    def __init__(self) -> None:
        self.seen: list[tuple[list[str], list[list[str]]]] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        following = trainer.train_dataloader.upcoming(9)
        self.seen.append((batch.prompts, [other.prompts for other in following]))


@pytest.mark.parametrize("settings", [{}, {"overfit_batches": 3}], ids=str)
def test_a_trainers_own_loaders_foretell_what_comes(settings: dict[str, int]):
    rows = [{"prompt": f"{number}=", "answer": "1", "teacher": ["1", "2"]} for number in range(6)]
    noted, data = Foretold(), Rows(rows, batch_size=1)
    data.shuffle = True
    fit(make_module(), data, callbacks=[noted], **settings)
    assert len(noted.seen) == (3 if settings else 6)
    for (_, foretold), (batch, _) in pairwise(noted.seen):
        assert foretold[0] == batch
