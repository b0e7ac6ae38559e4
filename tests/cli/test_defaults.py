"""Callbacks that are on by default in the command line."""

from __future__ import annotations

import pytest
from lightning.pytorch import Callback

from lightning_gft import RunRecord
from lightning_gft.cli.defaults import default_callbacks

PLAIN = {"fast_dev_run": False, "barebones": False, "default_callbacks": True}


class Own(RunRecord):
    """A user's."""


def kinds(callbacks: list[Callback]) -> list[type]:
    return [type(callback) for callback in callbacks]


def test_a_fit_is_recorded():
    assert RunRecord in kinds(default_callbacks("fit", PLAIN, []))


@pytest.mark.parametrize("given", [RunRecord(), Own()])
def test_what_is_given_does_not_come_twice(given: Callback):
    added = kinds(default_callbacks("fit", PLAIN, [given]))
    assert RunRecord not in added
    assert {*added} == {*kinds(default_callbacks("fit", PLAIN, []))} - {RunRecord}


@pytest.mark.parametrize("names", [[], ["Advice"], ["Watchdog", "RunRecord"]])
def test_some_of_them_or_none(names: list[str]):
    added = kinds(default_callbacks("fit", {**PLAIN, "default_callbacks": names}, []))
    assert [kind.__name__ for kind in added] == names
    assert default_callbacks("fit", {**PLAIN, "default_callbacks": False}, []) == []


@pytest.mark.parametrize("setting", ["fast_dev_run", "barebones"])
def test_a_run_that_leaves_nothing_has_none(setting: str):
    assert default_callbacks("fit", {**PLAIN, setting: True}, []) == []


@pytest.mark.parametrize("subcommand", ["validate", "test", "predict", "export", "inspect", "rescore"])
def test_only_training_has_any(subcommand: str):
    assert default_callbacks(subcommand, PLAIN, []) == []
