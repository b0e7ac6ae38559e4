"""``make quickstart`` says that it installs, once, and shows why pip fails."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.command import ROOT

PYTHON = """#!/bin/sh
case "$*" in
*" venv "*)
    mkdir -p .venv/bin
    cp "$0" .venv/bin/python
    printf '#!/bin/sh\\necho ran "$@"\\n' > .venv/bin/lightning-gft
    chmod +x .venv/bin/lightning-gft;;
*" pip "*) echo "$@" >> pip.log; if [ -e broken ]; then echo "ERROR: no index" >&2; exit 1; fi;;
esac
"""
"""Stands for Python: makes an environment of itself, and installs nothing."""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the Makefile and what its targets depend on."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    return tmp_path


def quickstart(folder: Path) -> subprocess.CompletedProcess[str]:
    make = shutil.which("make")
    assert make is not None
    outer = {
        "MAKELEVEL",
        "MAKEFLAGS",
        "MFLAGS",
    }  # of a make that runs the tests, within which it would print its folder
    environment = {name: value for name, value in os.environ.items() if name not in outer}
    return subprocess.run(
        [make, "quickstart", "PYTHON=./python"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not there")
def test_the_first_call_announces_that_it_installs_and_a_second_one_installs_nothing(checkout: Path):
    first, second = quickstart(checkout), quickstart(checkout)
    announced, ran = first.stdout.splitlines()
    assert announced.startswith("Installing into .venv: one to three minutes")
    assert ran == "ran quickstart"
    assert (second.stdout, second.stderr) == ("ran quickstart\n", "")
    (installed,) = (checkout / "pip.log").read_text().splitlines()
    assert installed.endswith("--editable .")


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not there")
def test_an_error_of_pip_is_shown_and_the_next_call_installs_again(checkout: Path):
    (checkout / "broken").touch()
    failed = quickstart(checkout)
    assert failed.returncode
    assert "ERROR: no index" in failed.stderr
    assert "ran" not in failed.stdout
    (checkout / "broken").unlink()
    assert quickstart(checkout).stdout.splitlines()[-1] == "ran quickstart"
    assert len((checkout / "pip.log").read_text().splitlines()) == 2
