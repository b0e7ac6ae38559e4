"""Panels keep what they show within what a figure can be."""

from __future__ import annotations

import math

import pytest

from benchmarks.study.drawing import new_figure
from benchmarks.study.looks import WELL_KNOWN
from benchmarks.study.panels import interval, root_axis, within_shares
from benchmarks.study.statistics import Estimate

SFT = WELL_KNOWN["SFT"]


@pytest.mark.parametrize(
    ("value", "bounded", "ends"),
    [
        (Estimate(0.9, 0.3, 3), True, (0.6, 1.0)),
        (Estimate(0.1, 0.3, 3), True, (0.0, 0.4)),
        (Estimate(0.9, 0.3, 3), False, (0.6, 1.2)),
        (Estimate(0.9, math.nan, 1), True, (0.9, 0.9)),
    ],
)
def test_intervals_of_shares_end_at_0_and_1(value: Estimate, bounded: bool, ends: tuple[float, float]):
    _, (axes,) = new_figure(1, 1, 4, 3)
    interval(axes, SFT, 1.0, value, bounded)
    (bar,) = axes.containers[0].lines[2][0].get_paths()
    assert bar.vertices[:, 1].tolist() == pytest.approx(ends)


@pytest.mark.parametrize(
    ("values", "bounded", "limits"),
    [
        ((0.97, 1.0), True, (0.70, 1.0)),  # the differences of single prompts do not fill the panel
        ((0.05, 0.1), True, (-0.02, 0.28)),
        ((0.2, 0.9), True, (0.165, 0.935)),
        ((0.01, 0.03), False, (0.009, 0.031)),
    ],
)
def test_a_panel_of_shares_is_not_closer_than_three_tenths(
    values: tuple[float, float], bounded: bool, limits: tuple[float, float]
):
    _, (axes,) = new_figure(1, 1, 4, 3)
    axes.plot(values)
    within_shares(axes, bounded)
    assert axes.get_ylim() == pytest.approx(limits, abs=0.005)


def test_a_root_axis_begins_at_the_base_and_spreads_what_is_close_to_it():
    _, (axes,) = new_figure(1, 1, 4, 3)
    axes.plot([0, 0.04, 0.64], [0, 1, 2])
    root_axis(axes)
    base, close, far = (
        axes.transAxes.inverted().transform(axes.transData.transform((x, 0)))[0] for x in (0, 0.04, 0.64)
    )
    assert (close - base) / (far - base) == pytest.approx(0.2 / 0.8)
    assert 0 < base < 0.1
    assert far < 1
    assert axes.get_xticks().tolist() == [0, 0.08, 0.3, 0.6]
