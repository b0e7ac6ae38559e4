"""The configuration reference has every setting, as the command line parses it."""

from __future__ import annotations

import inspect
from typing import Literal, Optional, Union

import pytest

import lightning_gft
from lightning_gft import DynamicCoefficientRectifier, GFTLitModule, GroupDataModule, SelfSource
from lightning_gft.cli.command import GFTCLI
from lightning_gft.cli.light import LIGHT
from lightning_gft.cli.trainer import GFTTrainer
from website.groups import GROUPS, members
from website.reference import reference_page
from website.settings import of_class, of_method, type_text


@pytest.fixture(scope="module")
def page() -> str:
    return reference_page()


@pytest.mark.parametrize("kind", [SelfSource, GroupDataModule, GFTLitModule])
def test_every_argument_is_a_setting(kind: type) -> None:
    parameters = inspect.signature(kind).parameters
    settings = {setting.name: setting for setting in of_class(kind)}
    assert list(settings) == list(parameters)
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty:
            assert settings[name].default == "required"
        elif isinstance(parameter.default, str | int | float | None):
            assert settings[name].default == repr(parameter.default)
    assert all(setting.type and setting.meaning for setting in settings.values())


def test_settings_of_another_library_are_left_out() -> None:
    assert [setting.name for setting in of_class(DynamicCoefficientRectifier)] == ["threshold"]


def test_options_of_a_command_are_those_that_it_accepts() -> None:
    options = of_method(GFTTrainer, "export", frozenset(GFTCLI.subcommands()["export"]))
    assert [option.name for option in options] == ["path", "ckpt_path", "torch_dtype", "merge"]
    assert [option.default for option in options][:3] == ["required", "None", "None"]


def test_commands_without_a_configuration_have_their_help(page: str) -> None:
    for name in LIGHT:
        assert f"### lightning-gft {name}\n" in page
        assert f"usage: lightning-gft {name}" in page
    assert "usage: lightning-gft configs copy" in page


def test_types_are_written_as_a_reader_writes_them() -> None:
    hint = Union[dict[str, Optional[int]], Literal["a,b"], None]  # noqa: UP007, UP045
    assert type_text(hint) == "dict[str, int | None] | Literal['a,b'] | None"
    assert type_text(GroupDataModule) == "GroupDataModule"


@pytest.mark.slow
def test_the_page_has_every_class_that_a_configuration_names(page: str) -> None:
    headings = {line.removeprefix("### ") for line in page.splitlines() if line.startswith("### ")}
    names = {name for group in GROUPS if group.slug != "types" for name in members(group)}
    classes = {name for name in names if inspect.isclass(getattr(lightning_gft, name))} - {"GFTLitModule"}
    assert headings == classes | {f"lightning-gft {name}" for name in [*GFTCLI.subcommands(), *LIGHT]}


@pytest.mark.slow
def test_the_page_shows_no_trace_of_this_machine(page: str) -> None:
    assert " at 0x" not in page
    assert "<class" not in page
    assert str(lightning_gft.__path__[0]) not in page


@pytest.mark.slow
def test_every_row_has_four_cells(page: str) -> None:
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) > 300
    for row in rows:
        outside_code = "".join(row.split("`")[::2]).replace("\\|", "")
        assert outside_code.count("|") == 5, row
