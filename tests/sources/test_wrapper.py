"""A source around another passes everything on that it does not change."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from lightning_gft import ByLength, ChosenSource, ResponseSource, Source
from lightning_gft.sources import SourceWrapper
from tests.sources.test_chosen import candidates


class Told(ResponseSource):
    """Answers each method with its name, and remembers what it was asked."""

    source = Source.TEACHER

    def __init__(self) -> None:
        super().__init__(5)
        self.asked: list[tuple[str, Any]] = []

    def respond(self, prompts: Any, policy: Any, seed: int) -> Any:
        self.asked.append(("respond", (prompts, policy, seed)))
        return "respond"


def public_methods(kind: type) -> dict[str, Callable[..., Any]]:
    named = inspect.getmembers(kind, inspect.isfunction)
    return {name: method for name, method in named if not name.startswith("_")}


for _name in set(public_methods(ResponseSource)) - {"respond"}:

    def _answer(self: Told, *args: Any, name: str = _name) -> str:
        self.asked.append((name, args))
        return name

    setattr(Told, _name, _answer)


@pytest.mark.parametrize("name", sorted(public_methods(ResponseSource)))
def test_every_method_of_a_source_is_passed_on(name: str):
    within = Told()
    wrapper = SourceWrapper(within)
    within.asked.clear()
    parameters = list(inspect.signature(getattr(ResponseSource, name)).parameters)[1:]
    given = tuple(object() for _ in parameters)
    assert getattr(wrapper, name)(*given) in (name, None)  # of a method that returns nothing
    assert within.asked == [(name, given)]
    assert name in vars(SourceWrapper)


@pytest.mark.parametrize(
    "name", sorted({*public_methods(ResponseSource)} - {"choose", "compute", "reset", "check_rewards"})
)
def test_a_chosen_source_changes_nothing_else(name: str):
    assert name not in vars(ChosenSource)


def test_what_a_chosen_source_adds_does_not_replace_what_the_source_within_does():
    within = Told()
    within.choose = lambda candidates, seed: [1, 2]  # type: ignore[method-assign]
    within.compute = lambda: {"requests": 3}  # type: ignore[method-assign]
    chosen = ChosenSource(within, 1, ByLength("shortest"))
    assert chosen.choose(candidates("a", "bbb", "cc"), 0) == [2]
    assert chosen.compute() == {"requests": 3, "given": 3, "duplicates": 0, "left_out": 2}
    chosen.reset()
    chosen.check_rewards({})
    assert [name for name, _ in within.asked] == ["reset", "check_rewards"]
    assert chosen.source is Source.TEACHER
