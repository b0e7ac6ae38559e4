"""A setting that changes while a run trains."""

from __future__ import annotations

import math

import pytest

from lightning_gft.annealing import Annealing


def test_it_begins_ends_and_stays():
    for shape in ("linear", "cosine"):
        value = Annealing(0.9, 0.05, 200, shape)
        assert value.at(0) == 0.9
        assert value.at(200) == value.at(10_000) == pytest.approx(0.05)
        assert value.at(100) == pytest.approx(0.475)
        assert all(value.at(n) > value.at(n + 1) for n in range(200))


def test_cosine_is_half_a_period():
    value = Annealing(1.0, 0.0, 10)
    assert [value.at(n) for n in range(11)] == pytest.approx([(1 + math.cos(math.pi * n / 10)) / 2 for n in range(11)])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_steps": 0}, "`num_steps` of Annealing: expected"),
        ({"end": float("nan")}, "`end` of Annealing: expected"),
        ({"shape": "step"}, "`shape` of Annealing: expected linear or cosine, got 'step'"),
    ],
)
def test_bad_settings_are_one_line(settings: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message) as raised:
        Annealing(**({"start": 1.0, "end": 0.0, "num_steps": 5} | settings))  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)
