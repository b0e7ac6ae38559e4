"""Parts are told apart by all of their settings, also by those that a card does not show."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from lightning_gft import (
    ChosenSource,
    EndpointSource,
    ExactMatchReward,
    FunctionReward,
    HTTPReward,
    NumericReward,
    Reward,
    SelfSource,
)
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
)
def test_settings_that_are_not_plain_tell_parts_apart(one: Any, other: Any) -> None:
    assert describe(Listed(one)) == describe(Listed(other))
    assert identify(Listed(one)) != identify(Listed(other))


@pytest.mark.parametrize("make", [lambda: {"b": 2, "a": {3, 1}}, lambda: [object()], lambda: [lambda: 0]])
def test_equal_settings_tell_nothing_apart(make: Any) -> None:
    assert identify(Listed(make())) == identify(Listed(make()))


def test_the_order_of_a_dict_tells_nothing_apart() -> None:
    assert identify(Listed({"a": 1, "b": 2})) == identify(Listed({"b": 2, "a": 1}))


@pytest.mark.parametrize(
    "part",
    [ExactMatchReward(), NumericReward("####"), SelfSource(2), HTTPReward(URL)],
    ids=lambda part: type(part).__name__,
)
def test_a_part_that_shows_all_is_only_described(part: Any) -> None:
    assert identify(part) == describe(part)


def test_settings_of_a_part_within_and_settings_that_are_not_shown_count(tmp_path: Path) -> None:
    one, other = (ChosenSource(endpoint(tmp_path, top_k=top_k), 2) for top_k in (20, 40))
    assert describe(one) == describe(other)
    assert identify(one) != identify(other)
    assert identify(endpoint(tmp_path, top_k=20)) != identify(endpoint(tmp_path))


CODE = """
import torch
from lightning_gft import Reward

LIMIT = 3


def judge(text):
    return float(len(text) < LIMIT)


def score(responses):
    return [judge(text) for text in responses]


def other(responses):
    return torch.ones(len(responses))


class Own(Reward):
    def __call__(self, *, responses, **rest):
        return score(responses)
"""


def identified(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str, what: str) -> str:
    """Return how a reward is identified in a process that begins with this code."""
    (folder / "own_rewards.py").write_text(code)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "own_rewards", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    if what != "Own":
        return identify(FunctionReward(f"own_rewards.{what}"))
    own_rewards = importlib.import_module("own_rewards")

    return identify(own_rewards.Own())


@pytest.mark.parametrize("what", ["score", "Own"])
@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("LIMIT = 3", "LIMIT = 4"),
        ("len(text) <", "len(text) >"),
        ("for text in responses]", "for text in responses[:]]"),
    ],
)
def test_code_of_ones_own_counts_with_what_it_names(what: str, before: str, now: str, tmp_path: Path, monkeypatch):
    first = identified(tmp_path, monkeypatch, CODE, what)
    changed = identified(tmp_path, monkeypatch, CODE.replace(before, now), what)
    assert first != changed
    assert "len(" not in first + changed
    assert identified(tmp_path, monkeypatch, CODE.replace("torch.ones", "torch.zeros"), what) == first


def test_code_without_a_source_is_its_name_alone() -> None:
    assert identify(FunctionReward(eval("lambda responses: [1.0]"))) == identify(  # noqa: S307
        FunctionReward(eval("lambda responses: [2.0]"))  # noqa: S307
    )
