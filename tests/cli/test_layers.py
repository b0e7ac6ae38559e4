"""Files and single settings in an order in which one of them has no effect."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from lightning_gft.cli.arguments import check_files
from lightning_gft.errors import GFTUsageError
from tests.cli.command import GFT, ROOT, SFT, refused

OVERLAY = str(ROOT / "configs/overlays/grpo.yaml")


def mistake(*args: str) -> str:
    with pytest.raises(GFTUsageError) as raised:
        check_files(["fit", *args])
    return str(raised.value)


@pytest.mark.parametrize("copied", [False, True])
def test_a_complete_configuration_after_another_file_is_an_error(copied: bool, tmp_path: Path):
    own = tmp_path / "own.yaml"
    own.write_text("model: {optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.5}}}\nseed_everything: 7\n")
    base = tmp_path / "base.yaml"
    base.write_bytes(Path(GFT).read_bytes())
    named = str(base) if copied else GFT
    message = mistake(f"--config={own}", "--config", named)
    assert message.startswith(
        f"`--config={named}`: expected a complete configuration first, got it after {own}, of which it replaces `"
    )
    assert message.endswith(f"; give them as --config={named} --config={own}")
    replaced = set(re.findall(r"`(\w[\w.]+)`", message))
    assert replaced == {"seed_everything", "model.optimizer", "model.optimizer.lr"}


def test_so_is_one_after_an_overlay(capsys):
    shown = refused(capsys, "fit", "--config", OVERLAY, "--config", GFT)
    assert "`model.loss` (lightning_gft.GRPOLoss by lightning_gft.GFTLoss)" in shown
    assert shown.endswith(f"; give them as --config={GFT} --config={OVERLAY}\n")


def test_only_files_whose_settings_are_replaced_are_named(tmp_path: Path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("seed_everything: 7\n")
    second.write_text("trainer: {enable_model_summary: false}\n")
    message = mistake("--config", GFT, f"--config={second}", f"--config={first}", "--config", GFT)
    assert f"got it after {first}, of which it replaces `seed_everything` (7 by 0); give" in message
    assert message.endswith(f"--config={GFT} --config={second} --config={first}")


def test_two_complete_configurations_are_an_error():
    message = mistake("--config", GFT, "--config", SFT)
    assert message.startswith(f"`--config`: expected one complete configuration, got {GFT} and {SFT}, which replaces `")
    assert "`model.loss` (lightning_gft.GFTLoss by lightning_gft.SFTLoss)" in message
    assert message.endswith("; leave one out")
    check_files(["fit", "--config", GFT, "--config", GFT])


@pytest.mark.parametrize("setting", ["--model.optimizer.lr=0.5", "--model.optimizer.init_args.lr=0.5"])
def test_a_setting_that_a_later_file_replaces_is_an_error(setting: str):
    assert re.fullmatch(
        rf"`--config={GFT}`: expected a file before single settings, got it after those that it replaces: "
        r"--model.optimizer.lr=0.5 by [\d.e-]+; give single settings last",
        mistake(setting, "--seed_everything", "0", f"--config={GFT}"),
    )


@pytest.mark.parametrize("setting", ["--model.loss=SFTLoss", "--model={loss: SFTLoss}", "--data.seeds=[1, 2]"])
def test_so_is_another_class_or_list(setting: str, tmp_path: Path):
    own = tmp_path / "own.yaml"
    own.write_text("model: {loss: lightning_gft.GFTLoss}\ndata: {seeds: [1, 3]}\n")
    assert "got it after those that it replaces: --" in mistake(setting, f"--config={own}")


@pytest.mark.parametrize("value", ["2026-13-45", "[" * 5000, "[1"])
def test_a_value_that_is_no_yaml_differs_from_a_file_s(value: str, tmp_path: Path):
    last = tmp_path / "last.yaml"
    last.write_text("data: {prompt_template: other}")
    assert "give single settings last" in mistake(f"--data.prompt_template={value}", f"--config={last}")


def test_a_long_value_that_is_replaced_is_cut_to_one_line(tmp_path: Path):
    last, template = tmp_path / "last.yaml", "a line\n" * 100
    last.write_text(yaml.dump({"data": {"prompt_template": template + "{prompt}"}}))
    message = mistake(f"--data.prompt_template={template}", f"--config={last}")
    assert "\n" not in message
    assert len(message) < 400 + len(str(last))


@pytest.mark.parametrize(
    "args",
    [
        ("--config", GFT, "--model.optimizer.lr=0.5"),
        ("--trainer.max_time=00:01:00:00", "--config", GFT),
        ("--trainer.enable_checkpointing=False", "--config", GFT),
        ("--model.optimizer.lr=0.001", "--model.loss=lightning_gft.GFTLoss", "--config={own}"),
        ("--model.optimizer.lr=1e-3", "--config={own}"),
        ("--data.bounds=[1, 2]", "--config={own}"),
        ("--model.loss=GFTLoss", "--config={own}"),
        ("--model={{loss: {{class_path: GFTLoss}}}}", "--config={own}"),
        ("--data.step=0.0001", "--config={own}"),
        ("--config={short}", "--config", GFT),
        ("--config", GFT, "--config={own}", "--config={changed}"),
        ("--config", GFT, "--config", OVERLAY),
    ],
)
def test_an_order_that_loses_nothing_is_none(args: tuple[str, ...], tmp_path: Path):
    own, changed, short = tmp_path / "own.yaml", tmp_path / "changed.yaml", tmp_path / "short.yaml"
    own.write_text(
        "model: {optimizer: {init_args: {lr: 0.001}}, loss: lightning_gft.GFTLoss}\n"
        "data: {bounds: [1, 2], step: 1e-4}\n"
    )
    rate = yaml.safe_load(Path(GFT).read_text())["model"]["optimizer"]["init_args"]["lr"]
    short.write_text(f"model: {{loss: GFTLoss, optimizer: {{init_args: {{lr: '{float(rate):e}'}}}}}}\n")
    changed.write_text(Path(GFT).read_text() + "# the user's own now\n")
    check_files(["fit", *(arg.format(own=own, changed=changed, short=short) for arg in args)])
