"""Intervals and differences agree with closed forms, and hold the truth as often as they say."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from benchmarks.study.statistics import LEVEL, estimate, explained, paired, rising_curve


def test_an_interval_is_students_t():
    found = estimate([1, 2, 3, 4, 5])
    assert (found.mean, found.count) == (3, 5)
    assert found.half == pytest.approx(2.776445 * math.sqrt(2.5 / 5), rel=1e-6)  # the table's t for 4 degrees
    assert (found.low, found.high) == (3 - found.half, 3 + found.half)


def test_one_value_has_no_interval_and_none_has_no_mean():
    assert estimate([0.5]).mean == 0.5
    assert math.isnan(estimate([0.5]).half)
    assert math.isnan(estimate([]).mean)
    assert estimate([0.5]).is_none


def test_a_value_that_is_not_finite_is_not_left_out():
    assert math.isnan(estimate([0.5, math.nan, 0.6]).mean)


def test_differences_are_taken_seed_by_seed():
    ours = pd.Series({0: 11.0, 1: 22.0, 2: 33.0, 3: 0.0})
    theirs = pd.Series({2: 30.0, 1: 20.0, 0: 10.0, 4: 0.0})
    found = paired(ours, theirs)  # 1, 2, 3: with two degrees of freedom t has a closed form
    t = 2 / math.sqrt(1 / 3)
    assert (found.mean, found.count) == (2, 3)
    assert found.p == pytest.approx(1 - t / math.sqrt(2 + t**2))
    assert found.half == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert found.is_none


@pytest.mark.parametrize(("by", "p", "none"), [(0.0, 1.0, True), (0.25, 0.0, False)])
def test_the_same_difference_on_each_seed_has_no_width(by: float, p: float, none: bool):
    found = paired(pd.Series([1.0, 2.0, 3.0]) + by, pd.Series([1.0, 2.0, 3.0]))
    assert (found.mean, found.half, found.p, found.is_none) == (by, 0, p, none)


def test_five_seeds_are_enough_for_students_t_and_too_few_for_the_bootstrap():
    studies = np.random.default_rng(0).normal(size=(600, 5))
    bootstrap = stats.bootstrap((studies,), np.mean, axis=1, n_resamples=499, method="percentile", rng=1)
    ours = [estimate(study) for study in studies]
    held = np.mean([one.low <= 0 <= one.high for one in ours])
    held_by_bootstrap = np.mean((bootstrap.confidence_interval.low <= 0) & (bootstrap.confidence_interval.high >= 0))
    assert held == pytest.approx(LEVEL, abs=0.02)
    assert held_by_bootstrap == pytest.approx(0.83, abs=0.03)


def test_the_rising_curve_pools_what_falls_and_what_is_at_one_place():
    assert rising_curve([0, 1, 2, 3], [0, 2, 1, 3]).tolist() == [0, 1.5, 1.5, 3]
    assert rising_curve([1, 0, 1], [4, 0, 2]).tolist() == [3, 0, 3]


def test_one_curve_explains_what_lies_on_one_and_not_what_lies_on_two():
    x = [1.0, 2.0, 3.0] * 2
    groups = ["a"] * 3 + ["b"] * 3
    assert explained(x, [1, 2, 9] * 2) == 1
    two = [1.0, 2.0, 3.0, 3.0, 4.0, 5.0]
    assert explained(x, two) == pytest.approx(1 - 6 / 10)  # the curve 2, 3, 4 is off by 1 six times
    assert explained(x, two, groups) == 1
    assert math.isnan(explained(x, [1.0] * 6))
