"""A row names the figures of the trained data set as they are, and those of another by its name."""

from __future__ import annotations

import pytest

from benchmarks.study.plan import PlanError
from benchmarks.study.recorder import columns

LOGGED = {
    "train/reward": 1.0,
    "val/sums/greedy_accuracy": 0.5,
    "val/sums/mean@8": 0.4,
    "val/sums/pass@8": 0.7,
    "val/products/greedy_accuracy": 0.2,
    "val/rewards/gym/errors": 0.0,
}
ONE = {"val/greedy_accuracy": 0.9, "val/maj@8": 0.8, "val/second_skill/greedy_accuracy": 0.3, "test/mean@8": 0.1}


def test_the_trained_data_set_loses_its_name():
    assert columns(LOGGED, "val", "sums") == {
        "greedy_accuracy": 0.5,
        "mean": 0.4,
        "pass@8": 0.7,
        "products/greedy_accuracy": 0.2,
        "rewards/gym/errors": 0.0,
    }
    assert columns(ONE, "val") == {"greedy_accuracy": 0.9, "maj": 0.8, "second_skill/greedy_accuracy": 0.3}


@pytest.mark.parametrize(("trained", "got"), [("sum", "sum"), ("", "none")])
def test_a_data_set_that_there_is_not_is_named(trained: str, got: str):
    with pytest.raises(PlanError, match=f"`trained`: expected one of products, sums, got {got}; name the data set"):
        columns(LOGGED, "val", trained)
