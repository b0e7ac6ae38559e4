from __future__ import annotations

import pytest
import torch

from lightning_gft.functional import pass_at_k
from tests import reference

TRIPLES = [(n, c, k) for n in (1, 2, 5, 7) for c in range(n + 1) for k in range(1, n + 1)]


def test_agrees_with_exact_counting_and_enumeration():
    for n, c, k in TRIPLES:
        counted = reference.pass_at_k_by_counting(n, c, k)
        assert counted == pytest.approx(reference.pass_at_k_by_enumeration(n, c, k), abs=1e-15)
        assert pass_at_k(n, c, k).item() == pytest.approx(counted, abs=1e-12), (n, c, k)


@pytest.mark.parametrize(("n", "c", "k"), [(256, 1, 128), (1000, 3, 500), (2000, 10, 64), (4096, 4000, 1)])
def test_large_numbers_neither_overflow_nor_lose_precision(n: int, c: int, k: int):
    assert pass_at_k(n, c, k).item() == pytest.approx(reference.pass_at_k_by_counting(n, c, k), abs=1e-12)


def test_tensors_of_numbers_broadcast():
    samples, correct = torch.tensor([[4], [6]]), torch.tensor([0, 1, 4])
    expected = [[reference.pass_at_k_by_counting(n, c, 3) for c in (0, 1, 4)] for n in (4, 6)]
    torch.testing.assert_close(pass_at_k(samples, correct, 3), torch.tensor(expected, dtype=torch.float64))


def test_it_is_no_mean():
    # One of four right: a mean says 0.25 for every k, the estimator grows with k.
    assert [pass_at_k(4, 1, k).item() for k in (1, 2, 3, 4)] == pytest.approx([0.25, 0.5, 0.75, 1.0])


@pytest.mark.parametrize(
    ("n", "c", "k", "words"),
    [
        (4, 1, 0, "`k`: expected a whole number from 1 to 4, got 0"),
        (4, 1, 5, "`k`: expected a whole number from 1 to 4, got 5"),
        (torch.tensor([8, 3]), 1, 4, "`k`: expected a whole number from 1 to 3, got 4"),
        (4, 5, 2, "num_correct"),
        (4, -1, 2, "num_correct"),
    ],
    ids=["zero", "too-many", "too-many-somewhere", "more-correct-than-samples", "negative"],
)
def test_numbers_out_of_range_are_named(n, c, k: int, words: str):
    with pytest.raises(ValueError, match=words):
        pass_at_k(n, c, k)
