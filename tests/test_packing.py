"""A pack against what it is: every sequence, each token once, seen by those that follow it."""

from __future__ import annotations

from dataclasses import replace
from itertools import takewhile
from operator import eq

import pytest
import torch

from lightning_gft import GroupBatch
from lightning_gft.batching import micro_batch_rows, without_tokens
from lightning_gft.packing import Pack, pack
from lightning_gft.packing.block import _BLOCK_COST
from lightning_gft.packing.prefixes import _TOKEN_COST
from tests.reference import groups_with_shared_prompts, random_groups

BATCHES = {
    **{f"shared-{seed}": groups_with_shared_prompts(seed) for seed in range(5)},
    "long": groups_with_shared_prompts(7, (6, 2, 9), prompt_length=200, response_length=500),
    **{f"alike-{words}": groups_with_shared_prompts(words, vocabulary=words) for words in (1, 2, 3)},
    "apart": random_groups()[0],
    "empty": without_tokens(random_groups()[0]),
}


def tokens_of(groups: GroupBatch) -> dict[int, list[tuple[int, int]]]:
    """Return by sequence its tokens but the last, named by who has them first and where; in the order of a row."""
    lengths = (groups.lengths - 1).clamp(min=1).tolist()
    rows = [ids[:length] for ids, length in zip(groups.input_ids.tolist(), lengths, strict=True)]
    named: dict[int, list[tuple[int, int]]] = {}
    before, tokens = [], []
    for n in sorted(range(len(rows)), key=rows.__getitem__):
        common = sum(takewhile(bool, map(eq, before, rows[n])))
        taken = tokens[:common] if 2 * common * _TOKEN_COST > (len(rows[n]) - common) ** 2 else []
        named[n] = tokens = taken + [(n, t) for t in range(len(taken), len(rows[n]))]
        before = rows[n]
    return named


def seen_in(row: Pack, window: int | None) -> set[tuple[int, int]]:
    """Return who sees whom, from a pack's blocks, by places in its row."""
    pairs = set()
    for block in row.blocks:
        visible = block.visible(window)[:, 0]
        for n, r, k in visible.nonzero().tolist():
            if not block.padding[n, r]:
                pairs.add((int(block.queries[n, r]), int(block.keys[n, k])))
    return pairs


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("name", [name for name in BATCHES if name != "long"])
def test_tokens_see_what_comes_before_them_in_their_own_sequence(name: str, window: int | None):
    groups = BATCHES[name]
    row, named = pack(groups), tokens_of(groups)
    places: dict[tuple[int, int], int] = {}
    for tokens in named.values():
        for token in tokens:
            places.setdefault(token, len(places))
    expected = {
        (places[query], places[key])
        for tokens in named.values()
        for t, query in enumerate(tokens)
        for s, key in enumerate(tokens)
        if s <= t and (window is None or t - s < window)
    }
    assert seen_in(row, window) == expected
    assert row.input_ids[0].tolist() == [int(groups.input_ids[n, t]) for n, t in places]
    assert row.position_ids[0].tolist() == [t for _, t in places]
    assert row.predictors.tolist() == [
        places[named[n][t - 1]] for n, t in groups.response_mask.nonzero().tolist() if t > 0
    ]


def test_no_token_stands_twice():
    groups = BATCHES["alike-2"]
    sequences = zip(groups.input_ids.tolist(), groups.lengths.tolist(), strict=True)
    beginnings = {tuple(ids[:stop]) for ids, length in sequences for stop in range(1, length)}
    assert len(pack(groups)) == len(beginnings)


def test_a_few_tokens_in_common_are_run_twice_before_many_others():
    groups = without_tokens(random_groups()[0])
    ids = torch.arange(600).view(2, 300).remainder(599)
    ids[:, 0] = 7
    ids = torch.cat([ids, ids[1:]])
    groups = replace(groups, input_ids=ids, attention_mask=ids > -1, response_mask=torch.arange(300).expand(3, 300) > 8)
    row = pack(groups)
    assert len(row) == 2 * 299  # none of the third sequence, and none of the last tokens
    assert [block.causal for block in row.blocks] == [True]


@pytest.mark.parametrize("name", BATCHES)
def test_every_token_asks_once(name: str):
    row = pack(BATCHES[name])
    assert torch.equal(row.queries[row.answers], torch.arange(len(row)))
    assert not row.padding[row.answers].any()
    assert int((~row.padding).sum()) == len(row)


def test_padding_costs_less_than_blocks_would():
    groups = BATCHES["long"]
    row = pack(groups)
    filled = sum(block.queries.numel() * block.keys.shape[1] for block in row.blocks)
    needed = sum(
        int((~block.padding[n]).sum()) * (int(block.positions[n].max()) + 1)
        for block in row.blocks
        for n in range(len(block.queries))
    )
    assert 1 < len(row.blocks) < len(groups)
    assert filled - needed <= _BLOCK_COST * len(groups)


def test_sequences_of_one_length_are_taken_as_they_are():
    ids = torch.arange(12).view(3, 4)
    numbers = torch.arange(3)
    groups = replace(
        without_tokens(random_groups()[0]),
        input_ids=ids,
        attention_mask=torch.ones(3, 4, dtype=torch.bool),
        response_mask=ids % 4 > 1,
        group_index=numbers,
    )
    row = pack(groups)
    assert row.plain
    assert torch.equal(row.blocks[0].queries, torch.arange(9).view(3, 3))
    assert not pack(BATCHES["apart"]).plain


@pytest.mark.parametrize("budget", [1, 12, 30, 10_000])
@pytest.mark.parametrize("name", BATCHES)
def test_micro_batches_of_packs_keep_to_the_budget(name: str, budget: int):
    groups = BATCHES[name]
    pieces = micro_batch_rows(groups, budget, packed=True)
    assert sorted(torch.cat(pieces).tolist()) == list(range(len(groups)))
    for rows in pieces:
        assert len(pack(groups.select(rows))) <= budget or len(rows) == 1
    if budget == 10_000:
        assert len(pieces) == 1
