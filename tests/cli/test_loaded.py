"""A text of a configuration runs no code: neither an import nor a `__getattr__`, only to name an error."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from lightning_gft.cli.components import Components, component_of
from lightning_gft.cli.entries import described
from lightning_gft.cli.loaded import loaded
from lightning_gft.errors import GFTValueError

HERE = __name__


class Outer:
    """Cannot be made."""

    def __init__(self, names: str) -> None:
        raise GFTValueError("`names`: wrong")

    class Inner:
        """A class within another."""


def make_part() -> None:
    """Stand for a function in place of a class."""


LAZY = """
def __getattr__(name):
    raise SystemExit(f"{name} was imported")
"""


def test_a_value_runs_no_code_to_name_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "train.py").write_text("raise SystemExit('imported')")
    (tmp_path / "lazy_one.py").write_text(LAZY)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("lazy_one")
    late = importlib.util.spec_from_file_location("late_one", tmp_path / "train.py")
    assert late is not None
    assert late.loader is not None
    late.loader = importlib.util.LazyLoader(late.loader)
    monkeypatch.setitem(sys.modules, "late_one", importlib.util.module_from_spec(late))
    late.loader.exec_module(sys.modules["late_one"])
    paths = ("train.jsonl", "lazy_one.Part", "late_one.Part")
    data = {"path": paths, "sets": [{"class_path": path, "init_args": 3} for path in paths]}
    components = Components({"data": data})
    error = GFTValueError("`names`: no such row")
    components.name(error)
    assert component_of(error) == ""
    with pytest.raises(GFTValueError, match=r"^`Outer\.names`: wrong$"):
        components.building(lambda kind, **arguments: kind(**arguments))(Outer, names="")


def test_a_path_leads_to_what_is_loaded_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert loaded(f"{HERE}.Outer") is Outer
    assert loaded(f"{HERE}.Outer.Inner") is Outer.Inner
    assert loaded(f"{HERE}.make_part") is make_part
    for path in (
        f"{HERE}.HERE",
        f"{HERE}.HERE.upper",
        f"{HERE}.none",
        HERE,
        "torch",
        ".",
        "",
        "no.module",
        "lazy_two.A",
    ):
        assert loaded(path) is None
    (tmp_path / "lazy_two.py").write_text(LAZY)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("lazy_two")
    assert loaded("lazy_two.A") is None
    assert described("lazy_two.A") is None
