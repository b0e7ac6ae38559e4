"""What is checked of arguments before the libraries of training are imported, against the real parser."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from lightning_gft.cli import documents, main
from lightning_gft.cli.arguments import REQUIRED, SETTINGS, check_arguments
from lightning_gft.cli.parsing import Parser
from lightning_gft.errors import GFTUsageError
from tests.cli.command import GFT, ROOT, printed_config, refused

OVERLAY = str(ROOT / "configs/overlays/grpo.yaml")


def mistake(*args: str) -> str:
    with pytest.raises(GFTUsageError) as raised:
        check_arguments(args)
    return str(raised.value)


def test_the_settings_of_each_command_are_those_of_its_parser(monkeypatch, tmp_path, capsys):
    parsers: list[Parser] = []

    def capture(parser: Parser, *_: Any, **__: Any) -> None:
        parsers.append(parser)
        raise KeyboardInterrupt

    (tmp_path / "whole.yaml").write_text("fit: {}")
    with monkeypatch.context() as patch:
        patch.setattr(Parser, "parse_args", capture)
        with pytest.raises(SystemExit):
            main([f"--config={tmp_path / 'whole.yaml'}", "fit"])  # reads the settings of all commands
    commands: dict[str, Parser] = parsers[0]._subcommands_action.choices
    assert SETTINGS.keys() == commands.keys()
    for name, parser in commands.items():
        first = dict.fromkeys(action.dest.partition(".")[0] for action in parser._actions)
        assert {*SETTINGS[name]} == first.keys() - {"help"}, name
        capsys.readouterr()
        with pytest.raises(SystemExit):
            parser.parse_args([])
        required = capsys.readouterr().err.partition("arguments are required: ")[2].strip().split(", ")
        assert {*REQUIRED} <= {*required}, name


@pytest.mark.parametrize("typed", ["--modle.loss=SFTLoss", "--modle", "--modle.loss.init_args.threshold+=3"])
def test_a_misspelt_first_name_is_found_early(typed, tmp_path):
    expected = "`modle`: expected a setting of the command, got an unknown one; did you mean `model`?"
    assert mistake("fit", "--config", GFT, typed) == expected
    (tmp_path / "run.yaml").write_text("modle: {loss: SFTLoss}")
    assert mistake("fit", "--config", GFT, f"--config={tmp_path / 'run.yaml'}") == expected


@pytest.mark.parametrize("setting", ["--max_steps=3", "--xyz=3", "--data.seed=-1", "-1e-4", "--", "--trainer.lgger=x"])
def test_what_only_the_parser_knows_is_left_to_it(setting):
    check_arguments(["fit", "--config", GFT, setting])


def test_a_missing_complete_configuration_is_named_with_an_example(tmp_path, capsys):
    assert mistake("fit") == (
        "`model.policy`, `model.sampler`, `model.loss`, `data`: expected a complete configuration, got none of these "
        "settings; give one, as in `lightning-gft fit --config=configs/gsm8k.yaml`"
    )
    own = tmp_path / "own.yaml"
    own.write_text("model: {loss: {class_path: SFTLoss}}")
    assert refused(capsys, "test", "--config", str(own), "--data=ArithmeticDataModule").endswith(
        "error: `model.policy`, `model.sampler`: expected a complete configuration, got none of these settings; give "
        f"one, as in `lightning-gft test --config=configs/gsm8k.yaml --config={own}`\n"
    )


@pytest.mark.parametrize("name", REQUIRED)
def test_a_required_name_that_is_misspelt_in_a_complete_file_is_the_error(name, tmp_path, capsys):
    settings = yaml.safe_load(Path(GFT).read_text())
    *above, last = name.split(".")
    section = settings[above[0]] if above else settings
    section[last[0] + last[2:]] = section.pop(last)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings))
    shown = refused(capsys, "fit", "--config", str(tmp_path / "run.yaml"))
    assert "got an unknown one; did you mean" in shown
    assert "complete configuration" not in shown


def test_parts_in_files_of_their_own_may_be_changed_by_a_later_file(tmp_path, capsys, monkeypatch):
    settings = yaml.safe_load(Path(GFT).read_text())
    for name in ("model", "data"):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(settings[name]))
    (tmp_path / "base.yaml").write_text("model: model.yaml\ndata: data.yaml\n")
    (tmp_path / "change.yaml").write_text("model: {updates_per_batch: 3}\n")
    monkeypatch.chdir(tmp_path)
    config = printed_config(capsys, "-cbase.yaml", "--config=change.yaml")
    assert config["model"]["updates_per_batch"] == 3
    assert config["model"]["loss"]["class_path"] == "lightning_gft.GFTLoss"
    check_arguments(["fit", "-cbase.yaml", "--config=change.yaml"])


def test_settings_of_the_environment_are_left_to_the_parser(monkeypatch):
    monkeypatch.setenv("JSONARGPARSE_DEFAULT_ENV", "true")
    check_arguments(["fit"])
    check_arguments(["fit", "--config", OVERLAY])


def test_a_file_is_read_once_for_all_checks_of_a_command(tmp_path, capsys, monkeypatch):
    read: list[str] = []
    monkeypatch.setattr(documents, "_read", lambda name, of=documents._read: read.append(name) or of(name))
    printed_config(capsys, "--config", GFT)
    printed_config(capsys, "--config", GFT)
    assert read == [GFT, GFT]


def test_an_overlay_alone_is_named_as_such(tmp_path, capsys):
    copied = tmp_path / "copied.yaml"
    copied.write_text((ROOT / "configs/overlays/grpo.yaml").read_text())
    for overlay in (OVERLAY, str(copied)):
        message = mistake("fit", "--config", overlay)
        assert f"; {overlay} is an overlay, which changes a complete configuration that comes first; give" in message
        assert message.endswith(f"as in `lightning-gft fit --config=configs/gsm8k.yaml --config={overlay}`")
        assert mistake("fit", "--config", overlay, "--trainer.max_steps", "3") == message
    shown = refused(capsys, "fit", "--config", OVERLAY.replace("grpo", "fast_check"), "--seed_everything=3")
    assert "fast_check.yaml is an overlay, which changes a complete configuration that comes first; give" in shown


@pytest.mark.parametrize(
    "args",
    [
        ["fit", "--help"],
        ["fit", "-h"],
        ["fit", "--model.loss.help=GFTLoss"],
        ["fit", "--print_config"],
        ["fit", "--print_config=skip_null"],
        ["fit", "--config", OVERLAY, "--model.policy=ScratchPolicy"],
        ["fit", "--config", OVERLAY, "--trainer.callbacks.help=Advice"],
        ["fit", "--model={policy: x}", "--data=ArithmeticDataModule"],
        ["fit", "--model=model.yaml", "--data", "data.yaml"],
        [f"--config={GFT}", "fit"],
    ],
)
def test_what_needs_no_complete_configuration_or_may_have_one_elsewhere_is_left_to_the_parser(args):
    check_arguments(args)


def test_a_pipe_which_can_be_read_only_once_is_left_to_the_parser(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    check_arguments(["fit", f"--config={tmp_path / 'pipe'}"])


@pytest.mark.parametrize("variable", ["WORLD_SIZE", "SLURM_NTASKS"])
def test_one_of_several_ranks_leaves_it_to_the_run_which_says_which_rank_it_is(variable, monkeypatch):
    ran: list[list[str]] = []
    monkeypatch.setitem(sys.modules, "lightning_gft.cli.running", SimpleNamespace(run=ran.append))
    monkeypatch.setenv(variable, "2")
    main(["fit"])
    assert ran == [["fit"]]
    monkeypatch.setenv(variable, "1")
    with pytest.raises(SystemExit):
        main(["fit"])
    assert len(ran) == 1


def test_a_checkpoint_callback_that_would_write_nothing_is_named_with_its_remedy(capsys, tmp_path):
    run = ("fit", "--config", GFT, f"--trainer.default_root_dir={tmp_path}", "--trainer.callbacks=ModelCheckpoint")
    assert refused(capsys, *run).endswith(
        "error: `trainer.enable_checkpointing`: expected true with a ModelCheckpoint among trainer.callbacks, got "
        "false; set it to true, or remove the callback\n"
    )


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ("model:", "`model`: expected settings, got null; write some, or remove it"),
        ("trainer:", "`trainer`: expected settings, got null; write some, or remove it"),
        ("data: null", "`data`: expected settings, got null; write some, or remove it"),
        ("fit: {trainer: null}", "`trainer`: expected settings, got null; write some, or remove it"),
        ("trainer: 3", "`trainer`: expected settings, got 3; write some, or remove it"),
        ("model: {policy: null}", "`model.policy`: expected a class_path, got null; name a class, or remove it"),
        (
            "model: {loss: {init_args: }}",
            "`model.loss.init_args`: expected arguments, got null; write it, or remove it",
        ),
        (
            "model: {loss: {class_path: 3}}",
            "`model.loss.class_path`: expected a class_path, got 3; write it, or remove it",
        ),
        (
            "trainer: {callbacks: [{class_path: }]}",
            "`trainer.callbacks[0].class_path`: expected a class_path, got null; write it, or remove it",
        ),
    ],
)
def test_a_section_or_a_part_that_holds_no_settings_is_named(settings, fault, tmp_path):
    (tmp_path / "run.yaml").write_text(settings)
    assert mistake("fit", "--config", GFT, f"--config={tmp_path / 'run.yaml'}") == fault


def test_a_null_that_is_replaced_later_is_left_to_the_parser(tmp_path):
    (tmp_path / "base.yaml").write_text("model: {loss: null}")
    check_arguments(["fit", f"--config={tmp_path / 'base.yaml'}", "--model.loss=SFTLoss"])
    (tmp_path / "base.yaml").write_text("trainer: null")
    check_arguments(["fit", f"--config={tmp_path / 'base.yaml'}", "--config", GFT])


def test_arguments_beyond_those_of_a_class_may_be_null(tmp_path):
    (tmp_path / "base.yaml").write_text("model: {loss: {dict_kwargs: null}}")
    check_arguments(["fit", "--config", GFT, f"--config={tmp_path / 'base.yaml'}"])


@pytest.mark.parametrize(
    ("args", "fault"),
    [
        (["--confg", "x"], "`COMMAND`: expected a command before all options, got '--confg'; begin with one of fit, "),
        (["--config", GFT, "fti"], "`COMMAND`: expected a command before all options, got 'fti'; did you mean fit?"),
        (
            ["--seed_everything=3", "fit"],
            "`seed_everything`: expected it after `fit`, got it before; begin with `lightning-gft fit`",
        ),
        (
            ["fit", "--config", GFT, "b.yaml"],
            "`b.yaml`: expected an option, got a value without one; give each file its own --config: --config=b.yaml",
        ),
        (
            ["fit", f"-c{GFT}", "max_steps=3"],
            "`max_steps=3`: expected an option, got a value without one; write settings as --name=value",
        ),
    ],
)
def test_a_command_comes_first_and_each_value_follows_its_option(args, fault):
    assert mistake(*args).startswith(fault)


@pytest.mark.parametrize(
    ("settings", "args"),
    [
        ("fit: {trainer: {max_steps: 1}}", []),
        ("subcommand: fit", []),
        ("trainer: {max_steps: 1}", ["--help"]),
        ("trainer: {max_steps: 1}", ["--print_shtab=bash"]),
    ],
)
def test_a_command_that_a_file_names_or_no_option_needs_is_left_to_the_parser(settings, args, tmp_path):
    (tmp_path / "all.yaml").write_text(settings)
    check_arguments([f"--config={tmp_path / 'all.yaml'}", *args])


def test_a_command_may_be_in_a_pipe_or_in_the_environment(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    check_arguments([f"--config={tmp_path / 'pipe'}"])
    assert mistake("--config", GFT).startswith("`COMMAND`: expected a command before all options")
    monkeypatch.setenv("JSONARGPARSE_DEFAULT_ENV", "true")
    check_arguments(["--config", GFT])


@pytest.mark.parametrize("typed", ["--data.batch_size", "--trainer.max_steps", "--model.loss"])
def test_an_option_without_its_value_is_named(typed, capsys):
    fault = f"error: `{typed.removeprefix('--')}`: expected a value, got none; give one, as in {typed}=...\n"
    assert refused(capsys, "fit", "--config", GFT, typed).endswith(fault)
    assert refused(capsys, "fit", "--config", GFT, typed, "--seed_everything=3").endswith(fault)
