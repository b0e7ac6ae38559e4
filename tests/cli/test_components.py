"""An error of a constructor stays itself and carries the full setting of its component, or only the class in doubt."""

from __future__ import annotations

import copy
import gc
import traceback
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from lightning_gft.cli.components import component_of
from lightning_gft.cli.parsing import Parser
from lightning_gft.errors import GFTImportError, GFTValueError, completing_errors

HERE = __name__


class Part:
    """What the settings of these tests are: parts that fail if they are told to."""

    def __init__(self, names: list[str] | None = None, inner: Part | None = None, fails: str = "") -> None:
        if fails == "ours":
            raise GFTValueError("`names`: expected other names:\nthe first\nthe second")
        if fails == "missing":
            raise GFTImportError("`names`: expected a library")
        if fails == "lookup":
            raise KeyError("foo")
        self.inner = inner

    def use(self, error: Exception) -> None:
        raise error


def make_part(fails: str = "") -> Part:
    if fails == "type":
        raise TypeError("no such type")
    return Part(fails=fails)


def used_elsewhere(part: Part, error: Exception) -> None:
    try:
        part.use(error)
    except GFTValueError as cause:
        raise GFTValueError(f"stage one: {cause}") from cause


Alias = Part


class Kinded(Part):
    """A part with an argument that an instantiator might have, too."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        if kind in ("Part", "Other"):
            raise GFTValueError(f"`kind` of {kind}: expected another")
        self.kind = kind
        self.columns: Columns | None = None


@dataclass
class Span:
    """Settings without a class_path."""

    start: int
    end: int = 3

    def __post_init__(self) -> None:
        if self.start > self.end:
            raise GFTValueError("`start`: expected at most end")


class Tuned:
    """Has an optimizer, as a function of weights."""

    def __init__(self, optimizer: Callable[[Iterable[nn.Parameter]], Optimizer]) -> None:
        self.optimizer = optimizer


class Whole:
    """Holds parts in each way that a configuration can."""

    def __init__(
        self,
        one: Part | None = None,
        named: Mapping[str, Part] | None = None,
        several: list[Part] | Part | None = None,
        span: Span | None = None,
        other: Span | None = None,
    ) -> None:
        self.one, self.span = one, span


def build(parser: Parser | None = None, **settings: Any) -> Whole:
    parser = parser or Parser(exit_on_error=False)
    parser.add_class_arguments(Whole, "whole")
    parser.add_instantiator(lambda kind, *args, **arguments: kind(*args, **arguments), Whole)
    whole: Whole = parser.instantiate(parser.parse_object({"whole": settings})).whole
    return whole


def part(class_path: str = "Part", **settings: Any) -> dict[str, Any]:
    return {"class_path": f"{HERE}.{class_path}", "init_args": settings}


TEXT = "expected other names:\nthe first\nthe second"


@pytest.mark.parametrize(
    ("settings", "setting"),
    [
        ({"one": part(fails="ours")}, "whole.one"),
        ({"one": part("Alias", fails="ours")}, "whole.one"),
        ({"several": [part(), part(names=["x"], fails="ours")]}, "whole.several[1]"),
        ({"several": part(fails="ours")}, "whole.several"),
        ({"named": {"a": part(names=["x"]), "b": part(names=["y"], fails="ours")}}, "whole.named.b"),
        ({"one": part(names=["y"], inner=part(fails="ours"))}, "whole.one.inner"),
        (  # a part within a part is not the part without
            {"named": {"a": part(names=["x"], fails="ours"), "b": part(names=["x"], fails="ours", inner=part())}},
            "whole.named.a",
        ),
        ({"named": {"a": part(fails="ours"), "b": part(fails="ours")}}, "Part"),  # either of them
    ],
)
def test_an_error_of_the_package_begins_with_the_full_setting(settings: dict[str, Any], setting: str):
    with pytest.raises(GFTValueError) as caught:
        build(**settings)
    assert str(caught.value) == f"`{setting}.names`: {TEXT}"


@pytest.mark.parametrize("class_path", ["Part", "Alias"])
def test_another_error_stays_as_it_is_and_carries_the_setting(class_path: str):
    with pytest.raises(KeyError) as caught:
        build(one=part(class_path, fails="lookup"))
    assert caught.value.args == ("foo",)
    *_, last = traceback.extract_tb(caught.value.__traceback__)
    assert last.line == 'raise KeyError("foo")'
    assert component_of(caught.value) == f"`whole.one` ({HERE}.{class_path})"
    assert caught.value.__notes__ == [f"raised for {component_of(caught.value)}"]


def test_an_error_of_an_import_shows_the_setting():
    with pytest.raises(GFTImportError, match=r"^`whole\.one\.names`: expected a library$"):
        build(one=part(fails="missing"))


def test_settings_without_a_class_are_found_by_all_of_their_arguments():
    with pytest.raises(GFTValueError, match=r"^`whole\.span\.start`: expected at most end$"):
        build(span={"start": 4}, other={"start": 4, "end": 5})
    with pytest.raises(GFTValueError, match=r"^`Span\.start`: expected at most end$"):
        build(span={"start": 4}, other={"start": 4})


def test_an_argument_may_have_the_name_of_an_instantiators():
    whole = build(one=part("Kinded", kind="x"))
    assert isinstance(whole.one, Kinded)
    assert whole.one.kind == "x"


def later(parser: Parser, use: Callable[[], None]) -> str:
    """Return the message of an error that is raised after all components were built."""
    with pytest.raises((GFTValueError, FileNotFoundError)) as caught, completing_errors(parser.components.name):
        use()
    return str(caught.value)


def test_an_error_after_construction_begins_with_the_full_setting():
    parser = Parser(exit_on_error=False)
    one = build(parser, one=part(inner=part(names=["x"])), span={"start": 1}).one
    assert one is not None
    inner = one.inner
    assert inner is not None
    wrong = "expected a file, got none"
    of_inner = partial(inner.use, GFTValueError(f"`names`: {wrong}"))
    assert later(parser, of_inner) == f"`whole.one.inner.names`: {wrong}"
    of_one = partial(one.use, FileNotFoundError(f"train data: `names` ('x: y'): {wrong}"))
    assert later(parser, of_one) == f"train data: `whole.one.names` ('x: y'): {wrong}"
    assert later(parser, partial(used_elsewhere, inner, GFTValueError(f"`names`: {wrong}"))) == (
        f"stage one: `whole.one.inner.names`: {wrong}"
    )


def test_an_option_that_is_checked_elsewhere_is_named_if_one_component_has_it():
    parser = Parser(exit_on_error=False)
    build(parser, one=part(), named={"a": part(names=["x"])}, span={"start": 1})

    def fail(message: str) -> None:
        raise GFTValueError(message)

    assert later(parser, partial(fail, "`end`: expected more, got 3")) == "`whole.span.end`: expected more, got 3"
    for unclear in ("`names`: expected others, got none", "`path`: expected a file, got none", "there is no file"):
        assert later(parser, partial(fail, unclear)) == unclear


class Other:
    """A part that no configuration has, with an option of the others' name."""

    def __init__(self, names: str = "") -> None:
        self.names = names

    def fail(self, message: str) -> None:
        raise GFTValueError(message)

    def use(self, part: Part, message: str) -> None:
        part.use(GFTValueError(message))


class Columns(Other):
    """A part that another one may make from its own option."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind


def test_an_option_of_a_part_outside_of_the_configuration_is_no_setting():
    parser = Parser(exit_on_error=False)
    one = build(parser, one=part(names=["x"])).one
    assert one is not None
    of_other, wrong = Other(), "expected others, got none"
    assert later(parser, partial(of_other.fail, f"`names`: {wrong}")) == f"`names`: {wrong}"
    assert later(parser, partial(of_other.use, one, f"`names`: {wrong}")) == f"`whole.one.names`: {wrong}"
    of_class = f"`names` of Other: {wrong}"
    assert later(parser, partial(one.use, GFTValueError(of_class))) == of_class
    assert later(parser, partial(of_other.use, one, of_class)) == of_class
    of_part = GFTValueError(f"`names` of Part: {wrong}")
    assert later(parser, partial(one.use, of_part)) == f"`whole.one.names`: {wrong}"


def test_an_option_that_a_part_hands_on_is_its_own():
    parser = Parser(exit_on_error=False)
    one = build(parser, one=part("Kinded", kind="x"), named={"a": part("Kinded", kind="y")}).one
    assert isinstance(one, Kinded)
    wrong = "`kind`: expected another, got x"
    assert later(parser, partial(Columns("x").fail, wrong)) == wrong
    one.columns = Columns("x")
    assert later(parser, partial(one.columns.fail, wrong)) == "`whole.one.kind`: expected another, got x"
    assert later(parser, partial(copy.copy(one.columns).fail, wrong)) == "`whole.one.kind`: expected another, got x"
    assert later(parser, partial(Columns("y").fail, wrong)) == wrong
    one.columns = Columns("z")
    assert later(parser, partial(one.columns.fail, wrong)) == wrong


def test_the_class_that_a_message_gives_may_be_a_base_of_the_component_and_no_other():
    with pytest.raises(GFTValueError, match=r"^`whole\.one\.kind`: expected another$"):
        build(one=part("Kinded", kind="Part"))
    with pytest.raises(GFTValueError, match=rf"^`whole\.one` \({HERE}\.Kinded\): `kind` of Other: expected another$"):
        build(one=part("Kinded", kind="Other"))


def test_an_option_of_a_part_that_the_command_adds_is_the_setting_that_it_follows_from():
    parser = Parser(exit_on_error=False)
    build(parser, one=part(names=["x"]))
    own = Other()
    parser.components.add_own(own, "names", "trainer.root")
    for of in ("", " of Other"):
        assert later(parser, partial(own.fail, f"data: `names`{of}: expected a")) == "data: `trainer.root`: expected a"
    assert later(parser, partial(own.fail, "`path`: expected a folder")) == "`path`: expected a folder"


def test_parts_are_freed_with_their_arguments():
    parser = Parser(exit_on_error=False)
    whole = build(parser, one=part(inner=part(names=["x"])), several=[part(), part("Kinded", kind="x")])
    assert whole.one is not None
    parts: list[weakref.ref[Any]] = [weakref.ref(whole.one), weakref.ref(whole.one.inner)]
    del whole
    gc.collect()
    assert [one() for one in parts] == [None, None]


def test_an_optimizer_is_freed():
    parser = Parser(exit_on_error=False)
    parser.add_class_arguments(Tuned, "tuned")
    parser.add_instantiator(lambda kind, *args, **arguments: kind(*args, **arguments), Tuned)
    settings = {"optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}}}
    tuned = parser.instantiate(parser.parse_object({"tuned": settings})).tuned
    optimizer = weakref.ref(tuned.optimizer([nn.Parameter(torch.ones(1))]))
    gc.collect()
    assert optimizer() is None


def test_a_function_in_place_of_a_class_is_named():
    with pytest.raises(TypeError, match=r"^no such type\n") as caught:
        build(one=part("make_part", fails="type"))
    assert caught.value.__notes__ == [f"raised for `whole.one` ({HERE}.make_part)"]
    with pytest.raises(GFTValueError, match=rf"^`whole\.one` \({HERE}\.make_part\): `names`: expected other names"):
        build(one=part("make_part", fails="ours"))
