from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lightning_gft.functional import masked_loss, reduction_weights
from lightning_gft.functional.reductions import check_length
from tests import reference

REDUCTIONS = ["token-mean", "sequence-mean", "group-mean"]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_loops(reduction: str, seed: int):
    groups, _ = reference.random_groups(seed)
    mask = groups.response_mask.clone()
    mask[seed] = False  # a response without tokens
    weights, count = reduction_weights(mask, reduction, groups.group_index, dtype=torch.float64)
    expected = reference.token_weights(mask.tolist(), reduction, groups.group_index.tolist())
    torch.testing.assert_close(weights / count, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)
    assert (weights[:, None] * mask).sum() / count == pytest.approx(1.0)


def _share(rows: Tensor, reduction: str, seed: int) -> tuple[Tensor, Tensor]:
    """Return the sum and the count that a micro-batch of these rows adds."""
    groups, logprobs = reference.random_groups(seed, sizes=(1, 3, 2, 4, 1))
    coefficients = torch.randn(logprobs.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    mask = groups.response_mask[rows]
    weights, count = reduction_weights(mask, reduction, groups.group_index[rows], dtype=torch.float64)
    total = masked_loss(logprobs[rows], coefficients[rows], mask, weights, torch.tensor(1.0).double())
    return total, count


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("num_parts", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(3))
def test_split_into_whole_groups_does_not_matter(reduction: str, num_parts: int, seed: int):
    groups, _ = reference.random_groups(seed, sizes=(1, 3, 2, 4, 1))
    names = groups.group_index.unique()
    part_of_name = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)) % num_parts
    part = part_of_name[torch.searchsorted(names, groups.group_index)]
    parts = [_share((part == number).nonzero()[:, 0], reduction, seed) for number in range(num_parts)]
    total, count = (torch.stack(values).sum() for values in zip(*parts, strict=True))
    whole, whole_count = _share(torch.arange(len(groups)), reduction, seed)
    torch.testing.assert_close(total / count, whole / whole_count, rtol=0, atol=1e-12)


@pytest.mark.parametrize("reduction", ["token-mean", "sequence-mean"])
def test_one_batch_of_8_equals_8_batches_of_1(reduction: str):
    # Without groups in the reduction even a group may be split.
    shares = [_share(torch.tensor([row]), reduction, 1) for row in range(8)]
    total, count = (torch.stack(values).sum() for values in zip(*shares, strict=True))
    whole, whole_count = _share(torch.arange(8), reduction, 1)
    torch.testing.assert_close(total / count, whole / whole_count, rtol=0, atol=1e-12)


def test_group_mean_of_8_groups_of_1_equals_sequence_mean():
    mask = torch.rand(8, 6, generator=torch.Generator().manual_seed(0)) < 0.6
    mask[3] = False
    by_group = reduction_weights(mask, "group-mean", torch.arange(8) * -3)
    by_sequence = reduction_weights(mask, "sequence-mean")
    torch.testing.assert_close(by_group, by_sequence)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("num_sequences", [0, 3])
def test_no_tokens_count_for_nothing(reduction: str, num_sequences: int):
    mask = torch.zeros(num_sequences, 4, dtype=torch.bool)
    weights, count = reduction_weights(mask, reduction, torch.arange(num_sequences))
    assert weights.tolist() == [0.0] * num_sequences
    assert count.item() == 0


def test_group_mean_needs_group_index():
    with pytest.raises(ValueError, match=r"`group_index`: .*group-mean"):
        reduction_weights(torch.ones(2, 2, dtype=torch.bool), "group-mean")


def test_unknown_reduction_is_named():
    with pytest.raises(ValueError, match=r"`reduction`: expected token-mean, .* or constant-length, got .mean."):
        reduction_weights(torch.ones(2, 2, dtype=torch.bool), "mean")  # type: ignore[arg-type]


def test_a_constant_length_divides_every_response_alike():
    mask = torch.tensor([[True, True, True], [True, False, False], [False, False, False]])
    weights, count = reduction_weights(mask, "constant-length", max_completion_length=4)
    assert weights.tolist() == [0.25, 0.25, 0.0]
    assert count == 2


@pytest.mark.parametrize(
    ("reduction", "length"), [("constant-length", None), ("token-mean", 4), ("constant-length", 0)]
)
def test_a_constant_length_is_given_where_it_is_used(reduction: str, length: int | None):
    with pytest.raises(ValueError, match=r"^`max_completion_length`: expected") as raised:
        check_length(reduction, length)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)
