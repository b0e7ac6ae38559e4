"""A pack against what it is: every sequence, each token once, seen by those that follow it."""

from __future__ import annotations

from dataclasses import replace
from itertools import takewhile
from operator import eq

import pytest
import torch
from torch import Tensor

from lightning_gft import GroupBatch
from lightning_gft.lm.micro_batches import micro_batch_rows, without_tokens
from lightning_gft.lm.packing import Block, Pack, pack
from lightning_gft.lm.packing.block import _BLOCK_COST
from tests.reference import groups_with_shared_prompts, random_groups

BATCHES = {
    **{f"shared-{seed}": groups_with_shared_prompts(seed) for seed in range(5)},
    "long": groups_with_shared_prompts(7, (6, 2, 9), prompt_length=200, response_length=500),
    **{f"alike-{words}": groups_with_shared_prompts(words, vocabulary=words) for words in (1, 2, 3)},
    "apart": random_groups()[0],
    "empty": without_tokens(random_groups()[0]),
}


def tokens_of(groups: GroupBatch) -> dict[int, list[tuple[int, int]]]:
    """Return by sequence its tokens but the last, named by who has them first and where; in the order of a row.

    So short are they that sharing always pays.
    """
    lengths = (groups.lengths - 1).clamp(min=1).tolist()
    rows = [ids[:length] for ids, length in zip(groups.input_ids.tolist(), lengths, strict=True)]
    named: dict[int, list[tuple[int, int]]] = {}
    before, tokens = [], []
    for n in sorted(range(len(rows)), key=rows.__getitem__):
        common = sum(takewhile(bool, map(eq, before, rows[n])))
        named[n] = tokens = tokens[:common] + [(n, t) for t in range(common, len(rows[n]))]
        before = rows[n]
    return named


def laid(row: Pack) -> list[tuple[Block, Tensor, Tensor, Tensor]]:
    """Return the blocks of a pack with their queries ``[n, R]``, keys ``[n, L]`` and padding ``[n, R]``."""
    queries = row.queries.split([block.num_queries for block in row.blocks])
    padding = row.padding.split([block.num_queries for block in row.blocks])
    keys = row.keys.split([block.num_keys for block in row.blocks])
    return [
        (block, queries[i].view_as(block.positions), keys[i].view(-1, block.width), padding[i].view_as(block.positions))
        for i, block in enumerate(row.blocks)
    ]


def seen_in(row: Pack, window: int | None) -> set[tuple[int, int]]:
    """Return who sees whom, from a pack's blocks, by places in its row."""
    return {
        (int(queries[n, r]), int(keys[n, k]))
        for block, queries, keys, padding in laid(row)
        for n, r, k in block.visible(window)[:, 0].nonzero().tolist()
        if not padding[n, r]
    }


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


def alike(count: int, common: int, length: int) -> GroupBatch:
    """Return sequences of which all begin with the same ``common`` tokens and none shares another."""
    ids = torch.arange(1, count * length + 1).view(count, length)
    ids[:, :common] = ids[0, :common]
    return replace(
        without_tokens(random_groups()[0]).select(torch.zeros(count, dtype=torch.long)),
        input_ids=ids,
        attention_mask=torch.ones_like(ids, dtype=torch.bool),
        response_mask=torch.arange(length).expand_as(ids) > 1,
    )


@pytest.mark.parametrize(
    ("common", "length", "pays"),
    [(1, 128, True), (1, 132, False), (100, 1380, True), (100, 1390, False), (9000, 18_000, True)],
)
def test_tokens_are_shared_where_they_outweigh_a_mask(common: int, length: int, pays: bool):
    row = pack(alike(2, common, length + 1))
    assert len(row) == 2 * length - common * pays
    assert [block.causal for block in row.blocks] == ([True, False] if pays else [True])


def test_equal_sequences_are_run_once():
    groups = alike(1, 0, 300)
    row = pack(groups.select(torch.zeros(3, dtype=torch.long)))
    assert len(row) == 299
    assert row.plain
    assert torch.equal(row.predictors, torch.arange(1, 299).repeat(3))


@pytest.mark.parametrize("name", BATCHES)
def test_every_token_asks_once(name: str):
    row = pack(BATCHES[name])
    assert torch.equal(row.queries[row.answers], torch.arange(len(row)))
    assert not row.padding[row.answers].any()
    assert int((~row.padding).sum()) == len(row)


def test_padding_costs_less_than_blocks_would():
    groups = BATCHES["long"]
    row = pack(groups)
    filled = sum(block.num_queries * block.width for block in row.blocks)
    needed = sum(
        int((~padding[n]).sum()) * (int(block.positions[n].max()) + 1)
        for block, queries, _, padding in laid(row)
        for n in range(len(queries))
    )
    assert 1 < len(row.blocks) < len(groups)
    assert filled - needed <= _BLOCK_COST * len(groups)


def test_sequences_of_one_length_are_taken_as_they_are():
    row = pack(alike(3, 0, 4))
    assert row.plain
    assert torch.equal(row.queries, torch.arange(9))
    assert not pack(BATCHES["apart"]).plain


def test_a_pack_moves_as_a_whole():
    row = pack(BATCHES["shared-0"])
    row.mask(0, None, torch.float32, causal_is_implied=False)
    moved = row.to(torch.device("meta"))
    tensors = [value for value in vars(moved).values() if isinstance(value, Tensor)]
    assert len(tensors) == 7
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert moved.mask(0, None, torch.float32, causal_is_implied=False).device.type == "meta"


def test_a_pack_is_made_on_the_cpu_whatever_the_default_device():
    groups = BATCHES["shared-0"]
    with torch.device("meta"):  # as models are loaded under the device that they train on
        row, pieces = pack(groups), micro_batch_rows(groups, 12, packed=True)
    assert torch.equal(row.input_ids, pack(groups).input_ids)
    assert {part.device.type for part in (row.queries, row.predictors, row.blocks[0].positions, *pieces)} == {"cpu"}


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


def test_sequences_of_a_micro_batch_gather_so_many_keys_at_most():
    groups = alike(40, 100, 111)
    sizes = [len(rows) for rows in micro_batch_rows(groups, 500, packed=True)]
    assert sizes == [36, 4]  # 4,000 of 110 tokens each, of which only 10 are not shared
    assert [pack(groups.select(torch.arange(size))).keys.numel() for size in (36, 37)] == [3960, 4070]


def test_packed_micro_batches_hold_sequences_of_similar_length():
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(300, 2000, (40,), generator=generator)
    groups = alike(40, 0, 2000)
    groups = replace(groups, attention_mask=torch.arange(2000) < lengths[:, None])
    order = torch.cat(micro_batch_rows(groups, 4000, packed=True))
    assert torch.equal(lengths[order], lengths.sort().values)
