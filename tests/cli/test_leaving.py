"""Ends that are no failure of the program."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace

import pytest

from lightning_gft.cli import main
from lightning_gft.cli.leaving import quiet_ends


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def closed_output(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setattr(sys, "stdout", os.fdopen(writer, "w"))


def test_ctrl_c_is_a_line_and_its_status(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "lightning_gft.cli.running", SimpleNamespace(run=interrupt))
    with pytest.raises(SystemExit) as stop:
        main(["fit"])
    assert stop.value.code == 130
    assert capsys.readouterr().err == "error: interrupted\n"


def show(*_: object) -> None:
    print("more than was read")


def show_much(*_: object) -> None:
    print("more than a pipe's buffer holds" * 10_000)


def show_and_exit(*_: object) -> None:
    show()
    sys.exit(0)


@pytest.mark.parametrize("run", [show, show_much, show_and_exit])
def test_reader_that_has_left_ends_the_program_quietly(run, monkeypatch, capsys):
    closed_output(monkeypatch)
    monkeypatch.setitem(sys.modules, "lightning_gft.cli.running", SimpleNamespace(run=run))
    with pytest.raises(SystemExit) as stop:
        main(["fit"])
    assert stop.value.code == 141
    sys.stdout.close()  # as the interpreter does when it ends
    assert capsys.readouterr().err == ""


def test_another_pipe_that_broke_is_a_failure():
    with pytest.raises(BrokenPipeError), quiet_ends():
        raise BrokenPipeError
