from __future__ import annotations

from itertools import product

import pytest

from lightning_gft.functional import maj_at_k
from tests.reference import maj_at_k_by_precedence


def test_every_vote_of_up_to_five_samples():
    for k in range(1, 6):
        for answers in product(("right", "wrong", "other", None), repeat=k):
            correct = [float(answer == "right") for answer in answers]
            expected = maj_at_k_by_precedence(answers, correct)
            assert maj_at_k(answers, correct) == pytest.approx(expected, abs=1e-15), answers


def test_two_right_answers_may_tie():
    assert maj_at_k(["1/2", "50%", "3"], [1, 1, 0]) == pytest.approx(2 / 3)


def test_an_answer_that_is_not_judged_alike_counts_by_its_mean():
    assert maj_at_k(["7", "7", "7", "5"], [1, 1, 0, 0]) == pytest.approx(2 / 3)


def test_a_number_of_verdicts_is_expected():
    with pytest.raises(ValueError, match="`correct`: expected one value for each of 2 answers, got 1"):
        maj_at_k(["1", "2"], [1])
