"""Parts are told apart by all of their settings, also by those that a card does not show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lightning_gft import ChosenSource, EndpointSource, ExactMatchReward, HTTPReward, NumericReward, Reward, SelfSource
from lightning_gft.checkpoint import describe, identify

URL = "http://localhost:9000/v1"


class Listed(Reward):
    """A reward with a setting of any kind."""

    def __init__(self, setting: Any) -> None:
        super().__init__()
        self.setting = setting

    def __call__(self, **_: Any) -> list[float]:
        return []


def endpoint(tmp_path: Path, **extra_body: Any) -> EndpointSource:
    return EndpointSource("teacher", URL, cache=str(tmp_path), extra_body=extra_body)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["a"], ["b"]),
        (["a", "b"], ["b", "a"]),
        ({"a": [1]}, {"a": [2]}),
        ({"a"}, {"b"}),
        (describe, identify),
        ({"by": describe}, {"by": identify}),
        ([], ["a"]),
    ],
    ids=str,
)
def test_settings_that_are_not_plain_tell_parts_apart(one: Any, other: Any) -> None:
    assert describe(Listed(one)) == describe(Listed(other))
    assert identify(Listed(one)) != identify(Listed(other))


@pytest.mark.parametrize("make", [lambda: {"b": 2, "a": {3, 1}}, lambda: [object()], lambda: [lambda: 0]])
def test_equal_settings_tell_nothing_apart(make: Any) -> None:
    assert identify(Listed(make())) == identify(Listed(make()))


def test_the_order_of_a_dict_tells_nothing_apart() -> None:
    assert identify(Listed({"a": 1, "b": 2})) == identify(Listed({"b": 2, "a": 1}))


@pytest.mark.parametrize("part", [ExactMatchReward(), NumericReward("####"), SelfSource(2), HTTPReward(URL)], ids=repr)
def test_a_part_that_shows_all_is_only_described(part: Any) -> None:
    assert identify(part) == describe(part)


def test_settings_of_a_part_within_and_settings_that_are_not_shown_count(tmp_path: Path) -> None:
    one, other = (ChosenSource(endpoint(tmp_path, top_k=top_k), 2) for top_k in (20, 40))
    assert describe(one) == describe(other)
    assert identify(one) != identify(other)
    assert identify(endpoint(tmp_path, top_k=20)) != identify(endpoint(tmp_path))
