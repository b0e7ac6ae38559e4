"""An error about a part as a whole, or about what a part holds, begins with the full setting, and with it once."""

from __future__ import annotations

from functools import partial

from lightning_gft.cli.parsing import Parser
from lightning_gft.errors import GFTValueError
from tests.cli.test_components import build, later, part


def test_an_error_about_a_part_as_a_whole_begins_with_its_setting_once():
    parser = Parser(exit_on_error=False)
    whole = build(parser, named={"a": part(names=["x"]), "b": part(names=["y"])}, one=part(inner=part(names=["z"])))
    assert whole.one is not None
    inner = whole.one.inner
    assert inner is not None
    wrong = "expected a column, got none"
    assert later(parser, partial(inner.use, GFTValueError(f"`Part`: {wrong}"))) == f"`whole.one.inner`: {wrong}"
    assert later(parser, partial(inner.use, GFTValueError(f"train data, row 1: `Part`: {wrong}"))) == (
        f"train data, row 1: `whole.one.inner`: {wrong}"
    )
    for before, left in (("`one.inner`: ", ""), ("`named.a`: ", "`named.a`: "), ("`stages.b`: ", "`stages.b`: ")):
        said = later(parser, partial(inner.use, GFTValueError(f"{before}`names`: {wrong}")))
        assert said == f"{left}`whole.one.inner.names`: {wrong}"
