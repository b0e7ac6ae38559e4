"""Settings that jsonargparse would leave out without an error."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.cli.command import GFT, printed_config, refused

UNKNOWN = {
    "foo: {}": "`foo`: expected a setting of the command",
    "trainer: {foo: {}}": "`trainer.foo`: expected a setting of `trainer`",
    "trainer: {callback: {}}": "`trainer.callback`: expected a setting of `trainer`, got an unknown one; did you mean",
    "trainer.foo: {bar: {}}": "`trainer.foo`: expected a setting of `trainer`",
    "data: {foo: {}}": "`data.foo`: expected an argument of ArithmeticDataModule",
    "model: {evaluation: {foo: {}}}": "`model.evaluation.foo`: expected an argument of Evaluation",
    "model: {policy: {modle: {}}}": "`model.policy.modle`: expected an argument of ArithmeticPolicy",
    "model: {sampler: {source: {}}}": "`model.sampler.source`: expected an argument of GroupSampler, got an "
    "unknown one; did you mean `sources`?",
    "model: {sampler: {init_args: {sources: {self: {foo: {}}}}}}": "`model.sampler.sources.self.foo`: expected an "
    "argument of SelfSource",
    "model: {loss: {init_args: {foo: {}}}}": "`model.loss.foo`: expected an argument of GFTLoss",
    "model: {loss: {init_arg: {}}}": "`model.loss.init_arg`: expected an argument of GFTLoss, got an unknown one; did "
    "you mean `init_args`?",
    "model: {loss: {class_path: SFTLoss, init_args: {foo: {}}}}": "`model.loss.foo`: expected an argument of SFTLoss",
    "model: {policy: {init_args: {lora: {rr: {}}}}}": "`model.policy.lora.rr`: expected an argument of LoRA",
    "trainer: {callbacks: [{class_path: Advice}, {class_path: ModelCheckpoint, init_args: {foo: {}}}]}": "`trainer."
    "callbacks[1].foo`: expected an argument of ModelCheckpoint",
    "trainer: {callbacks+: [{class_path: ModelCheckpoint, init_args: {foo: {}}}]}": "`trainer.callbacks[0].foo`: ",
    "trainer: {callbacks: {foo: {}}}": "`trainer.callbacks`: expected settings with values, got none; write some, or",
    "model: {sampler: {init_args: {sources+: {self: {}}}}}": "`model.sampler.sources`: expected a value in its place, ",
}


def in_file(folder: Path, settings: str) -> str:
    (folder / "run.yaml").write_text(settings)
    return f"--config={folder / 'run.yaml'}"


@pytest.mark.parametrize("settings", UNKNOWN)
def test_an_unknown_setting_without_values_is_an_error(settings, capsys, tmp_path):
    assert f"error: {UNKNOWN[settings]}" in refused(capsys, "fit", "--config", GFT, in_file(tmp_path, settings))


def test_it_is_an_error_when_it_is_only_printed_or_given_with_the_command(capsys, tmp_path):
    fault = "error: `trainer.foo`: expected a setting of `trainer`"
    given = in_file(tmp_path, "trainer: {foo: {}}")
    assert fault in refused(capsys, "fit", "--config", GFT, given, "--print_config")
    assert fault in refused(capsys, "fit", "--config", GFT, "--trainer={foo: {}}")
    fault = "error: `model.sampler.sources.self.foo`: expected an argument of SelfSource"
    assert fault in refused(capsys, "fit", "--config", GFT, "--model.sampler.sources.self.foo={}")


def test_it_is_an_error_in_a_file_of_all_commands(capsys, tmp_path):
    whole = yaml.safe_load(Path(GFT).read_text())
    whole["model"]["loss"]["init_args"]["foo"] = {}
    shown = refused(capsys, in_file(tmp_path, yaml.safe_dump({"fit": whole})), "fit")
    assert "error: `model.loss.foo`: expected an argument of GFTLoss" in shown


@pytest.mark.parametrize(
    "settings",
    [
        "{trainer: {}, model: {}}",
        "trainer: {callbacks: [{class_path: ModelCheckpoint, init_args: {}}]}",
        "model: {sampler: {init_args: {rewards: {accuracy: {}}, sources: {self: {init_args: {}}}}}}",
        "model: {loss: {init_args: {}, dict_kwargs: {}}, optimizer: {init_args: {}}}",
        "model: {evaluation: null, lr_scheduler: null, gradient_clip_val: null, policy: {init_args: {lora: null}}}",
    ],
)
def test_settings_without_values_that_exist_change_nothing(settings, capsys, tmp_path):
    printed_config(capsys, "--config", GFT, in_file(tmp_path, settings))


def test_arguments_of_a_class_that_a_later_file_replaces_are_ignored(capsys, tmp_path):
    (tmp_path / "later.yaml").write_text("model: {loss: {class_path: SFTLoss}}")
    first = in_file(tmp_path, "model: {loss: {init_args: {rectifier: {init_args: {}}}}}")
    assert printed_config(capsys, "--config", GFT, first, f"--config={tmp_path}/later.yaml")["model"]["loss"][
        "class_path"
    ].endswith("SFTLoss")


def test_a_printed_configuration_is_accepted(capsys, tmp_path):
    printed = printed_config(capsys, "--config", GFT)
    assert printed_config(capsys, in_file(tmp_path, yaml.safe_dump(printed))) == printed


@pytest.mark.parametrize(
    ("setting", "remedy"),
    [("trainer.strategy", ", auto"), ("trainer.max_steps", ", -1"), ("model.updates_per_batch", ", 1")],
)
def test_null_is_an_error_where_the_type_has_none(setting, remedy, capsys, tmp_path):
    shown = refused(capsys, "fit", "--config", GFT, in_file(tmp_path, f"{setting}: null"))
    assert f"error: `{setting}`: expected a value, got null; remove it for the default{remedy}\n" in shown
