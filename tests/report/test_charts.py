"""Charts: what is drawn where, and what stands beside it for those who do not see it."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from lightning_gft.report.charts import Line, Track, line_chart, track_chart
from lightning_gft.report.curves import is_wide
from lightning_gft.report.frame import HEIGHT, WIDTH
from lightning_gft.report.scales import Scale, number
from lightning_gft.report.thinning import MOST


def parsed(chart: str) -> ElementTree.Element:
    return ElementTree.fromstring(chart)  # noqa: S314 (our own)


def paths(chart: str, kind: str = "line") -> list[list[tuple[float, float]]]:
    """Return the corners of all paths of a kind."""
    drawn = [path.get("d", "") for path in parsed(chart).iter("path") if path.get("class") == kind]
    return [[(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", path)] for path in drawn]


def test_a_chart_is_named_described_and_has_its_numbers():
    chart = parsed(line_chart("Reward", [Line("gft", 0, [(1, 0.25), (2, 0.5)])], about="mean"))
    svg = chart.find("svg")
    assert svg is not None
    assert (svg.get("role"), svg[0].tag, svg[0].text) == ("img", "title", "Reward")
    assert svg[1].tag == "desc"
    assert svg[1].text == "gft: 0.25 at step 1, 0.5 at step 2, between 0.25 and 0.5."
    cells = [[cell.text for cell in row] for row in chart.iter("tr")]
    assert cells == [["step", "gft"], ["1", "0.25"], ["2", "0.5"]]


def test_higher_values_are_higher_and_all_are_within_the_chart():
    [points] = paths(line_chart("", [Line("", 0, [(0, -3.0), (5, 0.0), (10, 12.0)])]))
    assert [x for x, _ in points] == sorted({x for x, _ in points})
    assert points[0][1] > points[1][1] > points[2][1]
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)


def test_a_value_that_is_no_number_is_a_gap():
    points = [(0, 1.0), (1, 2.0), (2, math.nan), (3, math.inf), (4, 1.0), (5, 2.0)]
    chart = line_chart("", [Line("gft", 0, points)])
    [path] = [path.get("d", "") for path in parsed(chart).iter("path") if path.get("class") == "line"]
    assert path.count("M") == 2
    assert "2 values are not numbers" in chart
    assert "nan" not in chart
    assert "inf" not in chart


def test_every_value_with_an_error_has_its_interval_and_that_of_a_share_ends_at_one():
    level = Line("base", 0, [(0, 0.5)], {0: 0.1}, level=True)
    single = Line("gft", 1, [(40, 0.95)], {40: 0.2})
    chart = line_chart("", [level, single, Line("sft", 2, [(0, 0.5), (40, 0.9)], {0: 0.1, 40: 0.3})], span=0.1)
    kinds = [path.get("class") for path in parsed(chart).iter("path")]
    assert (kinds.count("band"), kinds.count("whisker")) == (2, 1)
    labels = [text.text for text in parsed(chart).iter("text") if text.get("class") == "tick end"]
    assert "1.0" in labels
    assert not {"1.2", "1.25"} & set(labels)
    assert min(y for path in paths(chart, "band") for _, y in path) >= 20  # the top of the axis


def test_charts_side_by_side_share_a_scale():
    low, high = [(0, 1.0), (1, 2.0)], [(0, 1.0), (1, 1000.0)]
    values = [value for _, value in low + high]
    charts = [line_chart("", [Line("", 0, points)], log=True, beside=values) for points in (low, high)]
    first, second = ([text.text for text in parsed(chart).iter("text")] for chart in charts)
    assert first == second
    assert "log scale" in first


@pytest.mark.parametrize("points", [[], [(0, math.nan)]])
def test_nothing_is_drawn_of_no_values(points):
    assert line_chart("", [Line("gft", 0, points)]) == ""


def test_a_logarithmic_chart_leaves_out_what_is_not_positive():
    chart = line_chart("", [Line("gft", 0, [(0, 0.0), (1, 10.0), (2, 1000.0)])], log=True)
    [points] = paths(chart)
    assert len(points) == 2


@pytest.mark.parametrize(
    ("values", "log"),
    [
        ([0.0, 1.0, 1000.0], True),  # a single zero hides nothing else
        ([-1.0, 1.0, 1000.0], False),
        ([10.0, 20.0, 0.0], False),
        ([0.0, 0.0], False),
        ([math.nan], False),
    ],
)
def test_values_far_apart_have_a_logarithmic_axis(values: list[float], log: bool):
    assert is_wide(values) == log


def test_a_single_value_is_a_mark():
    assert "<circle" in line_chart("", [Line("gft", 0, [(0, 0.5)])])


def test_a_long_curve_is_thinned_and_its_extremes_are_kept():
    values = [0.0] * 5000
    values[2345], values[4321] = 7.0, -7.0
    chart = line_chart("", [Line("gft", 0, list(enumerate(values)))])
    [points] = paths(chart)
    assert len(points) <= MOST + 1
    [band] = paths(chart, "band")
    zero = max({y for _, y in points}, key=[y for _, y in points].count)
    highest, lowest = min(y for _, y in band), max(y for _, y in band)
    scale = Scale.around([-7, 7], HEIGHT - 36, 20, ticks=4)
    assert highest == pytest.approx(scale(7), abs=0.1)
    assert lowest == pytest.approx(scale(-7), abs=0.1)
    assert highest < zero < lowest
    assert len(chart) < 40_000


def test_of_many_numbers_some_are_shown_with_the_first_and_the_last():
    chart = parsed(line_chart("", [Line("gft", 0, [(step, 0.5) for step in range(1, 2001)])]))
    steps = [row[0].text for row in chart.iter("tr")][1:]
    assert (steps[0], steps[-1]) == ("1", "2,000")
    assert len(steps) == 12
    assert "12 of 2,000 rows" in ElementTree.tostring(chart, encoding="unicode")


def test_lines_differ_by_dash_and_label_not_by_colour_alone():
    chart = parsed(line_chart("", [Line(name, style, [(0, style), (1, style)]) for style, name in enumerate("abc")]))
    labels = [text.text for text in chart.iter("text") if "label" in text.get("class", "")]
    assert sorted(filter(None, labels)) == ["a", "b", "c"]
    groups = [group.get("class") for group in chart.iter("g")]
    assert groups == ["s0", "s1", "s2"]


def test_labels_at_the_same_height_are_moved_apart():
    chart = parsed(line_chart("", [Line(str(n), n, [(0, 1.0), (1, 1.0)]) for n in range(8)]))
    heights = sorted(float(text.get("y", "")) for text in chart.iter("text") if "label" in text.get("class", ""))
    assert all(after - before >= 10 for before, after in pairwise(heights))
    assert heights[-1] <= HEIGHT


def test_an_interval_surrounds_its_curve():
    chart = line_chart("", [Line("gft", 0, [(0, 0.5), (1, 0.6)], {0: 0.1, 1: 0.1})])
    [points], [band] = paths(chart), paths(chart, "band")
    for (x, y), (_, high), (_, low) in zip(points, band[:2], reversed(band[2:]), strict=True):
        assert high < y < low
        assert {round(px) for px, _ in band} >= {round(x)}


@pytest.mark.parametrize("shares", [[0.5, 0.501], [0.999, 1.0], [0.0, 0.001], [1.0, 1.0]])
def test_noise_of_shares_looks_like_noise(shares):
    [points] = paths(line_chart("", [Line("gft", 0, list(enumerate(shares)), {0: 0.5})], span=0.1))
    drawn = HEIGHT - 36 - 20
    assert abs(points[0][1] - points[1][1]) <= 0.02 * drawn
    assert all(20 <= y <= HEIGHT - 36 for _, y in points)


def test_an_interval_may_reach_below_a_logarithmic_axis():
    chart = line_chart("", [Line("gft", 0, [(0, 0.01), (1, 10.0)], {0: 0.1, 1: 0.1})], log=True)
    [band] = paths(chart, "band")
    assert all(0 <= y <= HEIGHT for _, y in band)


def test_a_path_begins_hollow_and_ends_full():
    chart = parsed(
        track_chart("", [Track("gft", 0, [(0, 0.0, 0.1), (1, 0.1, 0.2), (2, 0.3, 0.4)])], about="", x="KL", y="a")
    )
    marks = [mark.get("class") for mark in chart.iter("circle")]
    assert marks == ["mark hollow", "mark", "mark"]


def test_hostile_names_stay_text():
    name = '</title><script>alert(1)</script>"'
    chart = line_chart(name, [Line(name, 0, [(0, 1.0), (1, 2.0)])], about=name)
    assert "<script" not in chart
    assert parsed(chart).find("script") is None


@pytest.mark.parametrize(
    "values",
    [[0.0, 1e-9], [1e9, 1e9 + 1], [-5.0, -1.0], [3.0, 3.0], [0.0, 0.0], [1e-300, 1e300], [-2.0, -2.0]],
)
def test_ticks_are_few_and_within(values):
    scale = Scale.around(values, 0, 100)
    assert 1 <= len(scale.ticks()) <= 8
    slack = 1e-6 * max(map(abs, values))
    assert all(scale.low - slack <= tick <= scale.high + slack for tick in scale.ticks())
    assert scale.low <= min(values) <= max(values) <= scale.high


@pytest.mark.parametrize("values", [[1e-8, 1e8], [0.5, 0.6], [2.0, 2.0]])
def test_ticks_of_a_logarithm_are_powers_of_ten(values):
    ticks = Scale.around(values, 0, 100, log=True).ticks()
    assert 2 <= len(ticks) <= 7
    assert all(math.log10(tick) == pytest.approx(round(math.log10(tick))) for tick in ticks)


def test_numbers_are_short():
    assert all(len(number(sign * 1.23456789 * 10**power)) <= 9 for power in range(-12, 14) for sign in (-1, 1))
