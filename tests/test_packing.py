"""A pack against what it is: every sequence, each token once, seen by those that follow it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lightning_gft import GroupBatch
from lightning_gft.batching import micro_batch_rows, without_tokens
from lightning_gft.packing import Pack, pack, prompt_lengths
from lightning_gft.packing.row import _BLOCK_COST
from tests.reference import groups_with_shared_prompts, random_groups

BATCHES = {
    **{f"shared-{seed}": groups_with_shared_prompts(seed) for seed in range(5)},
    "long": groups_with_shared_prompts(7, (6, 2, 9), prompt_length=200, response_length=500),
    "apart": random_groups()[0],
    "empty": without_tokens(random_groups()[0]),
}


def tokens_of(groups: GroupBatch) -> list[list[tuple[object, int]]]:
    """Return for each sequence its tokens, named by whose they are and where they stand."""
    named = []
    for n in range(len(groups)):
        length, prompt = int(groups.lengths[n]), int(prompt_lengths(groups)[n])
        ids = groups.input_ids[n, :prompt].tolist()
        key = (int(groups.group_index[n]), tuple(ids))
        named.append([(key, t) if t < prompt else (("own", n), t) for t in range(length)])
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
@pytest.mark.parametrize("share", [True, False], ids=["shared", "apart"])
@pytest.mark.parametrize("name", [name for name in BATCHES if name != "long"])
def test_tokens_see_what_comes_before_them_in_their_own_sequence(name: str, share: bool, window: int | None):
    groups = BATCHES[name]
    if not share:
        groups = replace(groups, group_index=torch.arange(len(groups)))
    row, named = pack(groups), tokens_of(groups)
    places: dict[tuple[object, int], int] = {}
    for sequence in named:  # the row goes through the sequences in their order
        for token in sequence:
            places.setdefault(token, len(places))
    assert len(row) == len(places)
    expected = {
        (places[query], places[key])
        for sequence in named
        for t, query in enumerate(sequence)
        for s, key in enumerate(sequence)
        if s <= t and (window is None or t - s < window)
    }
    assert seen_in(row, window) == expected
    ids = {
        place: int(groups.input_ids[n, t])
        for n, seq in enumerate(named)
        for t, place in enumerate(map(places.get, seq))
    }
    assert row.input_ids[0].tolist() == [ids[place] for place in range(len(row))]
    assert row.position_ids[0].tolist() == [position for (_, position) in places]
    assert row.predictors.tolist() == [
        places[sequence[t - 1]]
        for n, sequence in enumerate(named)
        for t in range(1, len(sequence))
        if groups.response_mask[n, t]
    ]


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
    lengths, prompts = groups.lengths, prompt_lengths(groups)
    needed = sum(
        int((~block.padding[n]).sum()) * (int(block.positions[n].max()) + 1)
        for block in row.blocks
        for n in range(len(block.queries))
    )
    assert 1 < len(row.blocks) < len(groups)
    assert filled - needed <= _BLOCK_COST * len(groups)
    assert len(row) < int(lengths.sum()) - 5 * int(prompts.min())


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
    assert torch.equal(row.blocks[0].queries, ids)
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
