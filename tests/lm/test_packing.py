"""Packs: every sequence, each token once, and attention to what comes before it."""

from __future__ import annotations

from dataclasses import replace
from itertools import takewhile
from operator import eq
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from lightning_gft.lm.packing import Pack, prefixes, split_into_packs
from lightning_gft.lm.packing import pack as pack_module
from lightning_gft.lm.packing.attention import PackedAttention
from lightning_gft.lm.packing.block import _BLOCK_COST, Block
from lightning_gft.types import Sequences
from tests.reference import groups_with_shared_prompts, random_groups

TOKEN = torch.zeros(1, 1, dtype=torch.long)
EMPTY = Sequences(TOKEN, TOKEN == 0, TOKEN != 0)
BATCHES = {
    **{f"shared-{seed}": groups_with_shared_prompts(seed) for seed in range(5)},
    "long": groups_with_shared_prompts(7, (6, 2, 9), prompt_length=200, response_length=500),
    **{f"alike-{words}": groups_with_shared_prompts(words, vocabulary=words) for words in (1, 2, 3)},
    "apart": random_groups()[0],
    "empty": EMPTY,
}


def split(groups: Sequences, budget: int) -> list[Pack]:
    return split_into_packs(groups, torch.arange(len(groups)), budget)


def pack(groups: Sequences) -> Pack:
    """Return all sequences in one pack."""
    [row] = split(groups, 10**6)
    return row


def attention_of(row: Pack) -> PackedAttention:
    assert isinstance(row.attention, PackedAttention)
    return row.attention


def tokens_of(groups: Sequences) -> dict[int, list[tuple[int, int]]]:
    """Return by sequence its tokens but the last, named by the first sequence that has them and their position.

    So short are they that sharing always pays. Those that share tokens follow one another, the shorter families first.
    """
    lengths = (groups.lengths - 1).clamp(min=1).tolist()
    rows = [ids[:length] for ids, length in zip(groups.input_ids.tolist(), lengths, strict=True)]
    families: list[dict[int, list[tuple[int, int]]]] = []
    before, tokens = [], []
    for n in sorted(range(len(rows)), key=rows.__getitem__):
        common = sum(takewhile(bool, map(eq, before, rows[n])))
        tokens = tokens[:common] + [(n, t) for t in range(common, len(rows[n]))]
        before = rows[n]
        if not common:
            families.append({})
        families[-1][n] = tokens
    families.sort(key=lambda family: max(map(len, family.values())))
    return {n: tokens for family in families for n, tokens in family.items()}


def laid(row: Pack) -> list[tuple[Block, Tensor, Tensor, Tensor]]:
    """Return the blocks of a pack with their queries ``[n, R]``, keys ``[n, L]`` and padding ``[n, R]``."""
    attention = attention_of(row)
    queries, padding = (
        tensor.split([block.num_queries for block in attention.blocks])
        for tensor in (attention.queries, attention.padding)
    )
    keys = attention.keys.split([block.num_keys for block in attention.blocks])
    return [
        (block, queries[i].view_as(block.positions), keys[i].view(-1, block.width), padding[i].view_as(block.positions))
        for i, block in enumerate(attention.blocks)
    ]


def visible_in(row: Pack, window: int | None) -> set[tuple[int, int]]:
    """Return the slots of queries and of the keys that they attend to."""
    return {
        (int(queries[n, r]), int(keys[n, k]))
        for block, queries, keys, padding in laid(row)
        for n, r, k in block.visible(window)[:, 0].nonzero().tolist()
        if not padding[n, r]
    }


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("name", [name for name in BATCHES if name != "long"])
def test_tokens_attend_to_what_comes_before_them_in_their_own_sequence(name: str, window: int | None):
    groups = BATCHES[name]
    row, named = pack(groups), tokens_of(groups)
    slots: dict[tuple[int, int], int] = {}
    for tokens in named.values():
        for token in tokens:
            slots.setdefault(token, len(slots))
    expected = {
        (slots[query], slots[key])
        for tokens in named.values()
        for t, query in enumerate(tokens)
        for s, key in enumerate(tokens)
        if s <= t and (window is None or t - s < window)
    }
    assert visible_in(row, window) == expected
    assert row.input_ids[0].tolist() == [int(groups.input_ids[n, t]) for n, t in slots]
    assert row.position_ids[0].tolist() == [t for _, t in slots]
    response_tokens = groups.response_mask.nonzero().tolist()
    predicted = [response_tokens[i] for i in row.index.tolist()]
    assert sorted(predicted) == response_tokens
    assert row.predictors.tolist() == [slots[named[n][t - 1]] for n, t in predicted]


def test_no_token_has_two_slots():
    groups = BATCHES["alike-2"]
    sequences = zip(groups.input_ids.tolist(), groups.lengths.tolist(), strict=True)
    beginnings = {tuple(ids[:stop]) for ids, length in sequences for stop in range(1, length)}
    assert pack(groups).num_tokens == len(beginnings)


def alike(count: int, common: int, length: int) -> Sequences:
    """Return sequences of which all begin with the same ``common`` tokens and none shares another."""
    ids = torch.arange(1, count * length + 1).view(count, length)
    ids[:, :common] = ids[0, :common]
    return Sequences(
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
    assert row.num_tokens == 2 * length - common * pays
    assert [block.causal for block in attention_of(row).blocks] == ([True, False] if pays else [True])


def test_equal_sequences_are_run_once():
    groups = alike(1, 0, 300)
    row = pack(groups.select(torch.zeros(3, dtype=torch.long)))
    assert row.num_tokens == 299
    assert attention_of(row).plain
    assert torch.equal(row.predictors, torch.arange(1, 299).repeat(3))


@pytest.mark.parametrize("name", BATCHES)
def test_every_slot_is_one_query(name: str):
    row = pack(BATCHES[name])
    attention = attention_of(row)
    assert torch.equal(attention.queries[attention.outputs], torch.arange(row.num_tokens))
    assert not attention.padding[attention.outputs].any()
    assert int((~attention.padding).sum()) == row.num_tokens


def test_padding_costs_less_than_blocks_would():
    groups = BATCHES["long"]
    row = pack(groups)
    filled = sum(block.num_queries * block.width for block in attention_of(row).blocks)
    needed = sum(
        int((~padding[n]).sum()) * (int(block.positions[n].max()) + 1)
        for block, queries, _, padding in laid(row)
        for n in range(len(queries))
    )
    assert 1 < len(attention_of(row).blocks) < len(groups)
    assert filled - needed <= _BLOCK_COST * len(groups)


def test_sequences_of_one_length_are_taken_as_they_are():
    attention = attention_of(pack(alike(3, 0, 4)))
    assert attention.plain
    assert torch.equal(attention.queries, torch.arange(9))
    assert not attention_of(pack(BATCHES["apart"])).plain


def test_a_pack_is_laid_out_on_the_cpu_for_any_device():
    groups = BATCHES["shared-0"]
    table = prefixes.sort_by_prefix(groups, torch.arange(len(groups)))
    row = pack_module._pack(table, torch.arange(len(groups)), torch.device("meta"))
    attention = attention_of(row)
    tensors = [value for value in (*vars(row).values(), *vars(attention).values()) if isinstance(value, Tensor)]
    assert len(tensors) == 9
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert attention.mask(0, None, torch.float32, causal_is_implied=False).device.type == "meta"
    assert {block.positions.device.type for block in attention.blocks} == {"cpu"}


def test_a_pack_is_made_on_the_cpu_whatever_the_default_device():
    groups = BATCHES["shared-0"]
    with torch.device("meta"):  # as models are loaded under the device that they train on
        [row, *others] = split_into_packs(groups, torch.arange(len(groups), device="cpu"), 12)
    assert torch.equal(row.input_ids, split(groups, 12)[0].input_ids)
    tensors = [value for part in (row, *others) for value in vars(part).values() if isinstance(value, Tensor)]
    tensors += [attention_of(row).queries, attention_of(row).blocks[0].positions]
    assert {tensor.device.type for tensor in tensors} == {"cpu"}


@pytest.mark.parametrize("budget", [1, 12, 30, 10_000])
@pytest.mark.parametrize("name", BATCHES)
def test_packs_keep_to_the_budget_and_predict_every_token_once(name: str, budget: int):
    groups = BATCHES[name]
    rows = split(groups, budget)
    index = torch.cat([row.index for row in rows])
    assert sorted(index.tolist()) == list(range(int(groups.response_mask.sum())))
    sequence, _ = groups.response_mask.nonzero(as_tuple=True)
    of_packs = [set(sequence[row.index].tolist()) for row in rows]
    assert sum(map(len, of_packs)) == len(sequence.unique())
    for row, of_pack in zip(rows, of_packs, strict=True):
        assert row.num_tokens <= budget or len(of_pack) <= 1
    if budget == 10_000:
        assert len(rows) == 1


@pytest.mark.parametrize("budget", [1, 12, 30])
@pytest.mark.parametrize("name", ["shared-0", "alike-2", "long"])
def test_packs_of_a_batch_are_those_of_their_sequences_by_themselves(name: str, budget: int):
    groups = BATCHES[name]
    mask = groups.attention_mask & (torch.arange(groups.input_ids.shape[1]) > 0)  # so that all predict something
    groups = replace(groups, response_mask=mask)
    sequence, _ = mask.nonzero(as_tuple=True)
    for row in split(groups, budget):
        alone = pack(groups.select(sequence[row.index].unique()))
        tokens, expected = (torch.cat([part.input_ids, part.position_ids]).T.tolist() for part in (row, alone))
        assert sorted(tokens) == sorted(expected)  # a family that was cut may be shorter than another
        assert sorted(row.targets.tolist()) == sorted(alone.targets.tolist())
        assert attention_of(row).keys.numel() == attention_of(alone).keys.numel()


def test_sequences_are_sorted_once_a_batch():
    with patch.object(pack_module, "sort_by_prefix", wraps=prefixes.sort_by_prefix) as sort:
        assert len(split(BATCHES["shared-0"], 12)) > 2
    assert sort.call_count == 1


def test_a_pack_gathers_so_many_keys_at_most():
    rows = split(alike(40, 100, 111), 500)
    # 36 of 110 keys each, of which only 10 are not shared.
    assert [attention_of(row).keys.numel() for row in rows] == [3960, 440]


def test_packs_hold_sequences_of_similar_length():
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(300, 2000, (40,), generator=generator)
    groups = alike(40, 0, 2000)
    mask = torch.arange(2000) < lengths[:, None]
    groups = replace(groups, attention_mask=mask, response_mask=mask & groups.response_mask)
    sequence, _ = groups.response_mask.nonzero(as_tuple=True)
    order = torch.cat([sequence[row.index].unique_consecutive() for row in split(groups, 4000)])
    assert torch.equal(lengths[order], lengths.sort().values)
