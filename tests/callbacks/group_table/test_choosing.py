"""Which groups are looked at, and which of their responses."""

from __future__ import annotations

import pytest
import torch

from lightning_gft import GroupBatch, Source
from lightning_gft.callbacks.group_table.choosing import Choice, Responses
from lightning_gft.errors import GFTTypeError, GFTValueError

SELF, EXPERT = int(Source.SELF), int(Source.EXPERT)


def batch(group: list[int], rewards: list[float], source: list[int] | None = None) -> GroupBatch:
    ids = torch.zeros(len(group), 2, dtype=torch.long)
    return GroupBatch(
        input_ids=ids,
        attention_mask=ids == 0,
        response_mask=ids == 0,
        group_index=torch.tensor(group),
        source=torch.tensor(source or [SELF] * len(group)),
        rewards=torch.tensor(rewards),
        advantages=torch.zeros(len(group)),
        finished=torch.ones(len(group), dtype=torch.bool),
    )


def rows(groups: GroupBatch, responses: Responses, num_groups: int = 9, trained: frozenset[int] = frozenset()):
    return Choice.of(num_groups, responses).rows(groups, trained)


def test_the_first_groups_in_their_order():
    groups = batch([4, 4, 0, 0, 2], [0, 1, 1, 0, 1])
    assert rows(groups, "all", num_groups=2) == [[0, 1], [2, 3]]
    assert rows(groups, "all") == [[0, 1], [2, 3], [4]]


def test_best_and_worst_in_turns():
    groups = batch([0] * 5, [0.5, 3.0, -1.0, 2.0, 0.0])
    assert rows(groups, "best_and_worst") == rows(groups, 2) == [[1, 2]]
    assert [rows(groups, number) for number in (1, 3, 4, 5, 6)] == [
        [[1]],
        [[1, 2, 3]],
        [[1, 2, 3, 4]],
        [[0, 1, 2, 3, 4]],
        [[0, 1, 2, 3, 4]],
    ]


def test_among_equals_first_what_was_trained_on_and_then_own_ones():
    groups = batch([0] * 4, [1.0] * 4, [EXPERT, SELF, EXPERT, SELF])
    assert rows(groups, 1) == [[1]]
    assert rows(groups, 1, trained=frozenset({2})) == [[2]]
    assert rows(groups, 2, trained=frozenset({2})) == [[1, 2]]
    assert rows(groups, 2) == [[1, 3]]


def test_a_group_of_one():
    assert rows(batch([0], [1.0]), "best_and_worst") == [[0]]


@pytest.mark.parametrize(("responses", "error"), [(0, GFTValueError), (1.5, GFTTypeError), ("best", GFTTypeError)])
def test_other_numbers_are_refused(responses, error):
    with pytest.raises(error, match=r"`responses` of GroupTable: expected .* best_and_worst or all, got"):
        Choice.of(1, responses)
