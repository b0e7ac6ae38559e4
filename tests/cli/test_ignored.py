"""Settings that jsonargparse would leave out without an error."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from jsonargparse import Namespace

from lightning_gft.cli.ignored import ignored
from lightning_gft.cli.unknown import appended
from tests.cli.command import GFT, printed_config, refused

UNKNOWN = {
    """
    foo: {}
    trainer: {foo: {}, callback: {}, callbacks: [{class_path: Advice}, {class_path: Timer, init_args: {foo: {}}}]}
    data: {foo: {}}
    model:
      foo: {}
      evaluation: {foo: {}}
      policy: {init_args: {modle: {}, lora: {rr: {}}}}
      sampler: {source: {}, sources: {self: {foo: {}}}}
      loss: {init_arg: {}, rectifier: {foo: {}}}
    """: [
        "`foo`: expected a setting of the command, got an unknown one; it has seed_everything, trainer, model, data",
        "`trainer.foo`: expected a setting of `trainer`, got an unknown one",
        "`trainer.callback`: expected a setting of `trainer`, got an unknown one; did you mean `trainer.callbacks`?",
        "`trainer.callbacks[1].foo`: expected an argument of Timer, got an unknown one; it has duration",
        "`data.foo`: expected an argument of ArithmeticDataModule, got an unknown one; it has num_train",
        "`model.foo`: expected a setting of `model`, got an unknown one; it has policy, sampler, loss, optimizer",
        "`model.evaluation.foo`: expected an argument of Evaluation, got an unknown one; it has num_samples",
        "`model.policy.modle`: expected an argument of ArithmeticPolicy, got an unknown one; it has lora, rollout",
        "`model.policy.lora.rr`: expected an argument of LoRA, got an unknown one; did you mean `r`?",
        "`model.sampler.source`: expected an argument of GroupSampler, got an unknown one; did you mean `sources`?",
        "`model.sampler.sources.self.foo`: expected an argument of SelfSource, got an unknown one; it has",
        "`model.loss.init_arg`: expected an argument of GFTLoss, got an unknown one; did you mean `init_args`?",
        "`model.loss.rectifier.foo`: expected an argument of DynamicCoefficientRectifier, got an unknown one; it has",
    ],
    """
    trainer.foo: {bar: {}}
    data: {class_path: ArithmeticDataModule, init_args: {foo: {}}}
    trainer: {callbacks+: [{class_path: Timer, init_args: {foo: {}}}]}
    model:
      policy: {modle: {}}
      loss: {class_path: SFTLoss, init_args: {foo: {}}}
      sampler: {init_args: {sources+: {self: {}}}}
    """: [
        "`trainer.foo`: expected a setting of `trainer`, got an unknown one",
        "`trainer.callbacks[0].foo`: expected an argument of Timer, got an unknown one",
        "`data.foo`: expected an argument of ArithmeticDataModule, got an unknown one; it has num_train",
        "`model.policy.modle`: expected an argument of ArithmeticPolicy, got an unknown one; it has lora, rollout",
        "`model.loss.foo`: expected an argument of SFTLoss, got an unknown one; it has reduction",
        "`model.sampler.sources`: expected a value in its place, got one to append, which only a list takes",
    ],
}


def in_file(folder: Path, settings: str) -> str:
    (folder / "run.yaml").write_text(settings)
    return f"--config={folder / 'run.yaml'}"


@pytest.mark.parametrize("settings", UNKNOWN)
def test_an_unknown_setting_without_values_is_an_error(settings, capsys, tmp_path):
    shown = refused(capsys, "fit", "--config", GFT, in_file(tmp_path, settings)).splitlines()[-1]
    assert [fault for fault in UNKNOWN[settings] if fault not in shown] == []


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


def test_settings_without_values_that_exist_change_nothing(capsys, tmp_path):
    settings = """
    trainer: {callbacks: [{class_path: ModelCheckpoint, init_args: {}}]}
    data: {}
    model:
      policy: {init_args: {lora: null}}
      sampler: {init_args: {rewards: {accuracy: {}}, sources: {self: {init_args: {}}}}}
      loss: {init_args: {}, dict_kwargs: {}}
      optimizer: {init_args: {}}
      evaluation: null
      gradient_clip_val: null
    """
    printed_config(capsys, "--config", GFT, in_file(tmp_path, settings))


def test_arguments_of_a_class_that_a_later_file_replaces_are_ignored(capsys, tmp_path):
    (tmp_path / "later.yaml").write_text("model: {loss: {class_path: SFTLoss}}")
    first = in_file(tmp_path, "model: {loss: {init_args: {rectifier: {init_args: {}}}}}")
    assert printed_config(capsys, "--config", GFT, first, f"--config={tmp_path}/later.yaml")["model"]["loss"][
        "class_path"
    ].endswith("SFTLoss")


def test_a_list_that_later_settings_replace_by_one_entry_may_be_appended_to():
    options = ["trainer.callbacks"]
    parsed = Namespace(trainer=Namespace(callbacks=Namespace(class_path="Timer")))
    appends, later = {"trainer": {"callbacks+": ["Timer"]}}, {"trainer": {"callbacks": {"class_path": "Timer"}}}
    assert [*ignored([appends, later], parsed, options)] == []
    assert [*ignored([appends, {"trainer.callbacks": "Timer"}], parsed, options)] == []
    assert [*ignored([appends, {"trainer": "trainer.yaml"}], parsed, options)] == []
    assert [*ignored([later, appends], parsed, options)] == [appended("trainer.callbacks")]


def test_so_may_one_in_a_file_of_all_commands(capsys, tmp_path):
    whole = yaml.safe_load(Path(GFT).read_text())
    whole["trainer"]["callbacks+"] = [{"class_path": "Timer"}]
    first = in_file(tmp_path, yaml.safe_dump({"fit": whole, "test": {"foo": {}}}))
    (tmp_path / "later.yaml").write_text("trainer: {callbacks: {class_path: Timer}}")
    for later in ("--trainer.callbacks=Timer", f"--config={tmp_path}/later.yaml"):
        assert "error: `ckpt_path`" in refused(capsys, first, "fit", later, f"--ckpt_path={tmp_path}/none.ckpt")


def test_a_printed_configuration_is_accepted(capsys, tmp_path):
    printed = printed_config(capsys, "--config", GFT)
    assert printed_config(capsys, in_file(tmp_path, yaml.safe_dump(printed))) == printed


def test_null_is_an_error_where_the_type_has_none(capsys, tmp_path):
    settings = "{trainer: {strategy: null, max_steps: null}, model: {updates_per_batch: null}}"
    shown = refused(capsys, "fit", "--config", GFT, in_file(tmp_path, settings))
    for setting, default in {
        "trainer.strategy": "auto",
        "trainer.max_steps": "-1",
        "model.updates_per_batch": "1",
    }.items():
        assert f"`{setting}`: expected a value, got null; remove it for the default, {default}" in shown
