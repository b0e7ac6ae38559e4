"""A method looks the same in all pictures, and unlike all others, to colour-blind readers too."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.study.looks import GROUPS, IMITATION, OTHERS, SPARE_COLOURS, WELL_KNOWN, Look, looks_of
from benchmarks.study.plan import Method, Plan
from benchmarks.study.reading import PLANS, read_plan
from tests.study.synthetic import plan_of

# Machado, Oliveira and Fernandes 2009, severity 1: how linear RGB looks without one kind of cone.
EYES = {
    "all cones": np.eye(3),
    "no red cones": [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]],
    "no green cones": [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]],
    "no blue cones": [[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]],
}
TO_XYZ = [[0.4339, 0.3762, 0.1899], [0.2127, 0.7152, 0.0722], [0.0178, 0.1095, 0.8728]]
"""From linear sRGB, relative to white."""


def lab(colour: str, eye: str) -> NDArray[np.float64]:
    """Return a colour in CIELAB as an eye sees it; a distance of 2.3 is just noticeable."""
    rgb = np.asarray([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = np.asarray(TO_XYZ) @ np.clip(np.asarray(EYES[eye]) @ linear, 0, 1)
    x, y, z = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.asarray([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("eye", EYES)
def test_all_eyes_tell_methods_apart(eye: str):
    for colours in ([look.colour for look in WELL_KNOWN.values()], SPARE_COLOURS):
        for one, other in combinations(colours, 2):
            assert np.linalg.norm(lab(one, eye) - lab(other, eye)) > 10, (one, other)


def test_well_known_methods_and_further_ones_share_no_colour_or_marker():
    further = looks_of(highlighting(*"abcdefg")).values()
    for known in WELL_KNOWN.values():
        assert known.marker not in {look.marker for look in (*further, *WELL_KNOWN.values()) if look != known}
        assert known.colour not in {look.colour for look in (*further, *WELL_KNOWN.values()) if look != known}


def highlighting(*labels: str, others: tuple[str, ...] = ()) -> Plan:
    methods = {label: Method(label, 8, label=label) for label in (*labels, *others)}
    return replace(plan_of(), methods=methods, highlighted=labels, reference=labels[0])


@pytest.mark.parametrize("name", sorted(path.stem for path in PLANS.glob("*.yaml")))
def test_no_two_named_methods_of_a_plan_look_alike(name: str):
    plan = read_plan(name)
    looks = looks_of(plan)
    named = [looks[method] for method in plan.highlighted]
    assert len({look.colour for look in named}) == len(named)
    assert [look.name for look in named] == [plan.methods[method].label for method in plan.highlighted]
    for look in named:
        assert look == WELL_KNOWN.get(look.name, look)


def test_a_plan_order_changes_no_well_known_method():
    assert looks_of(highlighting("GRPO", "new", "SFT"))["SFT"] == looks_of(highlighting("SFT", "GRPO"))["SFT"]


@pytest.mark.parametrize(
    ("label", "look"),
    [
        ("InfoSFT", IMITATION),
        ("SFT at 1e-4", IMITATION),
        ("LUFFY", GROUPS),
        ("GFT, unrectified", GROUPS),
        ("GFT, then GRPO", OTHERS),
        ("no groups", OTHERS),
    ],
)
def test_methods_that_are_not_named_have_the_colour_of_their_camp(label: str, look: Look):
    assert looks_of(highlighting("SFT", others=(label,)))[label] == look
