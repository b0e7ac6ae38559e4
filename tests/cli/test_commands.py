"""The list of commands is quick and complete, and reports mistakes."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import yaml
from lightning.pytorch.cli import LightningCLI

import lightning_gft
from lightning_gft.cli import main
from lightning_gft.cli.command import GFTCLI
from lightning_gft.cli.light import COMMANDS, LIGHT
from tests.cli.command import GFT, ROOT, refused

OVERLAY = ROOT / "configs/overlays/grpo.yaml"

IMPORTED = """
import sys
from lightning_gft.cli import main
try:
    main(sys.argv[1:])
finally:
    print("imported:", sorted({"torch", "lightning", "transformers", "datasets", "matplotlib"} & {*sys.modules}))
"""


def printed(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """Return what arguments print that end the program successfully."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(list(args))
    assert stop.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "expected"), [(None, "PASSIVE"), pytest.param("ACTIVE", "ACTIVE", marks=pytest.mark.slow)]
)
def test_threads_that_wait_yield_unless_the_user_says_otherwise(given: str | None, expected: str):
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {"OMP_DISPLAY_ENV": "true"} | ({} if given is None else {"OMP_WAIT_POLICY": given})
    program = "import contextlib\nfrom lightning_gft.cli import main\nwith contextlib.suppress(SystemExit):\n"
    command = [sys.executable, "-c", program + "    main(['--version'])\nimport torch"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert f"OMP_WAIT_POLICY = '{expected}'" in ended.stderr


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["configs"], ["doctor", "--help"], ["quickstart", "-h"]])
def test_light_commands_import_no_library_of_training(args):
    ended = subprocess.run([sys.executable, "-c", IMPORTED, *args], capture_output=True, text=True, check=True)
    assert ended.stdout.endswith("imported: []\n")


@pytest.mark.parametrize(
    "args",
    [
        ["fit"],
        ["fit", "--config"],
        ["validate", "--config=nowhere.yaml"],
        ["fit", f"--config={OVERLAY}"],
        ["export", "--config", GFT, "--modle.loss=SFTLoss"],
        ["--config=nowhere.yaml", "fit"],
    ],
)
def test_a_mistake_in_arguments_is_reported_before_a_library_of_training_is_imported(args):
    ended = subprocess.run([sys.executable, "-c", IMPORTED, *args], capture_output=True, text=True)
    assert ended.stdout.endswith("imported: []\n")
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith("error: `")


def test_the_help_lists_every_command(capsys):
    words = printed(capsys, "--help").split()
    assert set(COMMANDS) <= set(words)
    assert COMMANDS.keys() - LIGHT.keys() == {*GFTCLI.subcommands()}


def test_options_may_come_before_the_command(capsys, tmp_path):
    (tmp_path / "whole.yaml").write_text("fit: {trainer: {deterministic: true}}")
    given = ("--config", str(tmp_path / "whole.yaml"), "fit", "--config", GFT, "--print_config")
    assert yaml.safe_load(printed(capsys, *given))["trainer"]["deterministic"] is True


@pytest.mark.parametrize(("before", "read"), [([], ["fit"]), (["--config=whole.yaml"], [*GFTCLI.subcommands()])])
def test_only_the_command_s_own_settings_are_read_if_it_comes_first(before, read, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "whole.yaml").write_text("fit: {}")
    prepare, prepared = LightningCLI._prepare_subcommand_parser, []

    def counted(cli: LightningCLI, klass: type, subcommand: str, **settings: Any) -> Any:
        prepared.append(subcommand)
        return prepare(cli, klass, subcommand, **settings)

    monkeypatch.setattr(LightningCLI, "_prepare_subcommand_parser", counted)
    printed(capsys, *before, "fit", "--config", GFT, "--print_config")
    assert prepared == read


def test_the_version(capsys):
    assert printed(capsys, "--version") == f"lightning-gft {lightning_gft.__version__}\n"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["fti"], "`COMMAND`: expected a command of lightning-gft, got 'fti'; did you mean fit?"),
        (["xyz"], "got 'xyz'; it has fit, validate, test"),
        (["doctor", "--all"], "See: lightning-gft doctor --help\nerror: unrecognized arguments: --all\n"),
        (["configs", "copy", "--al"], "unrecognized arguments: --al; did you mean --all?\n"),
        (["report", "runs", "--out=page.html"], "unrecognized arguments: --out=page.html; did you mean --output?\n"),
        (["quickstart", "fast"], "`SETTING`: expected settings of the form --name=value, got 'fast'"),
        (
            ["quickstart", "--", "--trainer.fast_dev_run=true"],
            "`SETTING`: expected settings that keep the runs' logs in their folders, got trainer.fast_dev_run in",
        ),
    ],
)
def test_mistakes_are_reported(args, message, capsys):
    printed = refused(capsys, *args)
    assert message in printed
    assert printed.splitlines()[-1].startswith("error: ")
