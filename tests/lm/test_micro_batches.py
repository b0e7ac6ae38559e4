from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from lightning_gft.lm.micro_batch import MicroBatch, Padded
from lightning_gft.lm.micro_batches import micro_batches
from lightning_gft.lm.packing import Pack
from lightning_gft.types import GroupBatch, Sequences
from tests.reference import groups_with_shared_prompts, random_groups

BUDGETS = [1, 9, 10, 23, 40, 10_000]


def rows_of(batch: MicroBatch, groups: GroupBatch) -> Tensor:
    """Return the numbers of the sequences with response tokens in a micro-batch, in its order."""
    return groups.tokens().sequence[batch.index].unique_consecutive()


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("seed", range(5))
def test_every_sequence_is_in_one_micro_batch_within_the_budget(budget: int, seed: int):
    groups, _ = random_groups(seed, sizes=(4, 1, 6, 5))
    pieces = micro_batches(groups, budget, longest_pack=0)
    rows = [rows_of(piece, groups) for piece in pieces]
    assert sorted(torch.cat(rows).tolist()) == list(range(len(groups)))
    for piece, chosen in zip(pieces, rows, strict=True):
        assert piece.num_tokens == len(chosen) * int(groups.lengths[chosen].max())
        assert piece.num_tokens <= budget or len(chosen) == 1


@pytest.mark.parametrize("budget", BUDGETS)
def test_no_two_neighbours_would_have_fitted_together(budget: int):
    groups, _ = random_groups(sizes=(4, 1, 6, 5))
    pieces = [rows_of(piece, groups) for piece in micro_batches(groups, budget, longest_pack=0)]
    for rows, following in pairwise(pieces):
        assert (len(rows) + 1) * int(groups.lengths[following[0]]) > budget


@pytest.mark.parametrize("longest_pack", [None, 0, 6])
@pytest.mark.parametrize("budget", [1, 12, 10_000])
def test_index_and_targets_are_those_of_the_batch(longest_pack: int | None, budget: int):
    groups = groups_with_shared_prompts(vocabulary=3)
    pieces = micro_batches(groups, budget, longest_pack)
    index = torch.cat([piece.index for piece in pieces])
    assert sorted(index.tolist()) == list(range(int(groups.response_mask.sum())))
    expected = groups.input_ids[groups.response_mask]
    for piece in pieces:
        assert len(piece) == len(piece.index)
        assert torch.equal(piece.targets, expected[piece.index])


def test_sequences_too_long_for_a_pack_are_padded_and_all_others_packed():
    groups = groups_with_shared_prompts()
    pieces = micro_batches(groups, 10_000, longest_pack=6)
    by_kind = {kind: [piece for piece in pieces if isinstance(piece, kind)] for kind in (Pack, Padded)}
    assert len(by_kind[Pack]) == len(by_kind[Padded]) == 1
    assert groups.lengths[rows_of(by_kind[Pack][0], groups)].max() <= 6
    assert groups.lengths[rows_of(by_kind[Padded][0], groups)].min() > 6


def test_no_sequences_make_no_micro_batch():
    groups, _ = random_groups()
    none = groups.select(torch.tensor([], dtype=torch.long))
    narrow = replace(
        none, **{name: getattr(none, name)[:, :0] for name in ("input_ids", "attention_mask", "response_mask")}
    )
    for longest_pack in (None, 0):
        assert micro_batches(none, 100, longest_pack) == micro_batches(narrow, 100, longest_pack) == []


@pytest.mark.parametrize("longest_pack", [None, 0])
def test_a_prompt_token_alone_is_run_and_predicts_nothing(longest_pack: int | None):
    token = torch.zeros(1, 1, dtype=torch.long)
    [piece] = micro_batches(Sequences(token, token == 0, token != 0), 1, longest_pack)
    assert piece.num_tokens == 1
    assert len(piece) == len(piece.targets) == 0


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
    groups = replace(groups, sampling_logprobs=logprobs)
    tokens = groups.tokens(weights=torch.arange(len(groups)).double())
    rows, columns = groups.response_mask.nonzero(as_tuple=True)
    assert torch.equal(tokens.advantages, groups.advantages[rows])
    assert torch.equal(tokens.source, groups.source[rows])
    assert torch.equal(tokens.weights, rows.double())
    assert torch.equal(tokens.sampling_logprobs, logprobs[rows, columns])
    assert tokens.ref_logprobs is None
    piece = tokens[3:7]
    assert len(piece) == 4
    assert torch.equal(piece.sampling_logprobs, tokens.sampling_logprobs[3:7])
