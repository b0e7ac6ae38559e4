"""Draws that a source has begun before their batch is sampled."""

from __future__ import annotations

from dataclasses import asdict

from lightning_gft.sources.begun import BegunDraws
from lightning_gft.types import PromptBatch, Response


def test_recalled_responses_of_all_ranks_leave_with_their_batch():
    first, second = (PromptBatch([[1]], ["a"], [None], places=[place]) for place in (0, 1))
    begun = BegunDraws()
    begun.recall([{"7": {0: [asdict(Response([5]))]}}, {"7": {1: [asdict(Response([6]))]}}])
    assert begun.knows(first, 7)
    assert begun.knows(second, 7)
    [[taken]] = begun.take(first, 7) or []
    assert taken.token_ids == [5]
    assert not begun.memory()


def test_a_draw_that_is_missing_on_one_rank_is_forgotten_on_all():
    here, there = ({place: [asdict(Response([place]))]} for place in (0, 1))
    begun = BegunDraws()
    begun.recall([{"7": here, "8": here}, {"8": there}])
    assert begun.memory() == {"8": here | there}
    begun.recall([{"7": here}, {}])
    assert begun.memory() == {}
