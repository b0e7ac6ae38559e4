from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from lightning_gft.lm.micro_batches import micro_batch_rows, without_tokens
from tests.reference import random_groups

BUDGETS = [1, 9, 10, 23, 40, 10_000]


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("seed", range(5))
def test_every_sequence_is_in_one_micro_batch_within_the_budget(budget: int, seed: int):
    groups, _ = random_groups(seed, sizes=(4, 1, 6, 5))
    pieces = micro_batch_rows(groups, budget)
    assert sorted(torch.cat(pieces).tolist()) == list(range(len(groups)))
    for rows in pieces:
        padded = groups.select(rows).input_ids.numel()
        assert padded == len(rows) * int(groups.lengths[rows].max())
        assert padded <= budget or len(rows) == 1


@pytest.mark.parametrize("budget", BUDGETS)
def test_no_two_neighbours_would_have_fitted_together(budget: int):
    groups, _ = random_groups(sizes=(4, 1, 6, 5))
    pieces = micro_batch_rows(groups, budget)
    for rows, following in pairwise(pieces):
        assert (len(rows) + 1) * int(groups.lengths[following[0]]) > budget


def test_no_sequences_make_no_micro_batch():
    groups, _ = random_groups()
    none = groups.select(torch.tensor([], dtype=torch.long))
    narrow = replace(
        none, **{name: getattr(none, name)[:, :0] for name in ("input_ids", "attention_mask", "response_mask")}
    )
    for packed in (True, False):
        assert micro_batch_rows(none, 100, packed) == micro_batch_rows(narrow, 100, packed) == []


def test_select_keeps_rows_together_and_cuts_padding():
    groups, _ = random_groups()
    named = [str(n) for n in range(len(groups))]
    groups = replace(groups, prompts=named, responses=named, reward_parts={"one": groups.rewards * 2})
    rows = groups.lengths.argsort()[:3].flip(0)
    part = groups.select(rows)
    assert part.input_ids.shape == (3, int(groups.lengths[rows].max()))
    assert part.prompts == part.responses == [str(n) for n in rows.tolist()]
    for name in ("group_index", "source", "rewards", "advantages", "lengths", "response_lengths"):
        assert torch.equal(getattr(part, name), getattr(groups, name)[rows]), name
    assert torch.equal(part.reward_parts["one"], 2 * part.rewards)
    assert torch.equal(part.input_ids[part.response_mask], groups.input_ids[rows][groups.response_mask[rows]])


def test_tokens_are_those_of_the_mask_row_by_row():
    groups, logprobs = random_groups()
    groups = replace(groups, weights=torch.arange(len(groups)).double(), old_logprobs=logprobs)
    tokens = groups.tokens()
    rows, columns = groups.response_mask.nonzero(as_tuple=True)
    assert torch.equal(tokens.advantages, groups.advantages[rows])
    assert torch.equal(tokens.source, groups.source[rows])
    assert torch.equal(tokens.weights, rows.double())
    assert torch.equal(tokens.old_logprobs, logprobs[rows, columns])
    assert tokens.ref_logprobs is None
    piece = tokens[3:7]
    assert len(piece) == 4
    assert torch.equal(piece.old_logprobs, tokens.old_logprobs[3:7])


def test_without_tokens_is_one_prompt_token():
    groups, _ = random_groups()
    empty = without_tokens(groups)
    assert empty.input_ids.shape == (1, 1)
    assert empty.attention_mask.all()
    assert not empty.response_mask.any()
    assert len(empty.tokens()) == 0
