"""Every configuration parses, can be layered, and tells a mistake from a value."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lightning_gft.cli import main
from tests.cli.command import GFT, ROOT, printed_config, refused

CONFIGS = sorted(path for path in ROOT.glob("configs/**/*.yaml") if path.parent.name != "overlays")
OVERLAYS = sorted(ROOT.glob("configs/overlays/*.yaml"))


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT / "configs"))


@pytest.mark.parametrize("path", CONFIGS, ids=_name)
def test_config_parses_and_its_print_can_be_fed_back(path: Path, capsys, tmp_path):
    config = printed_config(capsys, "--config", str(path))
    again = tmp_path / "printed.yaml"
    again.write_text(yaml.safe_dump(config))
    assert printed_config(capsys, "--config", str(again)) == config


@pytest.mark.parametrize("path", OVERLAYS, ids=_name)
def test_overlay_changes_what_it_names_and_nothing_else(path: Path, capsys):
    base = printed_config(capsys, "--config", GFT)
    config = printed_config(capsys, "--config", GFT, "--config", str(path))
    overlay = yaml.safe_load(path.read_text())
    for section in base:
        if section in overlay:
            changed = {key for key in base[section] if config[section][key] != base[section][key]}
            assert changed <= set(overlay[section])
        else:
            assert config[section] == base[section]
    assert config != base


@pytest.mark.parametrize("subcommand", ["fit", "validate", "test", "predict"])
def test_one_config_serves_every_subcommand(subcommand, capsys):
    assert printed_config(capsys, "--config", GFT, subcommand=subcommand)["data"]


def test_command_line_overrides_single_values(capsys):
    config = printed_config(
        capsys,
        *("--config", GFT),
        "--model.loss.rectifier.threshold=0.3",
        "--model.sampler.sources.self.num_generations=6",
        "--model.sampler.rewards.accuracy.weight=2.0",
        "--model.evaluation.num_samples=3",
    )["model"]
    sampler = config["sampler"]["init_args"]
    assert config["loss"]["init_args"]["rectifier"]["init_args"]["threshold"] == 0.3
    assert sampler["sources"]["self"]["init_args"]["num_generations"] == 6
    assert sampler["rewards"]["accuracy"]["init_args"]["weight"] == 2.0
    assert config["evaluation"]["num_samples"] == 3


def test_overlay_changes_threshold_reward_and_loss(capsys, tmp_path):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("""
model:
  sampler:
    init_args:
      rewards:
        accuracy: {class_path: lightning_gft.NumericReward, init_args: {tolerance: 0.5}}
  loss: {class_path: lightning_gft.SFTLoss}
""")
    config = printed_config(capsys, "--config", GFT, "--config", str(overlay))["model"]
    assert config["loss"]["class_path"] == "lightning_gft.SFTLoss"
    reward = config["sampler"]["init_args"]["rewards"]["accuracy"]
    assert (reward["class_path"], reward["init_args"]["tolerance"]) == ("lightning_gft.NumericReward", 0.5)
    # Whoever changes the class changes what it takes: nothing of the old one stays behind but what both have.
    assert reward["init_args"]["marker"] == "#"


def test_overlay_that_names_a_set_names_all_of_it(capsys, tmp_path):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("""
model: {sampler: {init_args: {sources: {self: {class_path: lightning_gft.SelfSource}}}}}
""")
    sources = printed_config(capsys, "--config", GFT, "--config", str(overlay))["model"]["sampler"]["init_args"][
        "sources"
    ]
    assert list(sources) == ["self"]  # so that an overlay can take a source away
    assert sources["self"]["init_args"]["max_new_tokens"] == 48  # what it does not name of an entry stays


@pytest.mark.parametrize("marker", ["#", "####", "# Answer:"])
def test_marker_that_looks_like_a_comment_is_kept(marker, capsys, tmp_path):
    overlay = tmp_path / "overlay.yaml"
    rewards = {"accuracy": {"class_path": "lightning_gft.NumericReward", "init_args": {"marker": marker}}}
    overlay.write_text(yaml.safe_dump({"model": {"sampler": {"init_args": {"rewards": rewards}}}}))
    by_line = f"--model.sampler.rewards.accuracy.marker={marker}"
    for args in (("--config", str(overlay)), (by_line,)):
        sampler = printed_config(capsys, "--config", GFT, *args)["model"]["sampler"]["init_args"]
        assert sampler["rewards"]["accuracy"]["init_args"]["marker"] == marker


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ("--model.updates_per_bach=2", "updates_per_bach"),
        ("--model.loss.rectifier.treshold=0.3", "treshold"),
        ("--model.sampler.sources.self.num_generation=3", "num_generation"),
        ("--model.evaluation.num_sample=3", "num_sample"),
        ("--data.num_trian=8", "num_trian"),
        ("--model.loss.rectifier.threshold=-0.1", "threshold"),
        ("--model.loss.reduction=tokenmean", "reduction"),
        ("--model.updates_per_batch=0", "updates_per_batch"),
        ("--model.micro_batch_tokens=many", "micro_batch_tokens"),
        ("--trainer.gradient_clip_val=1.0", "model.gradient_clip_val"),
        ("--trainer.accumulate_grad_batches=2", "model.micro_batch_tokens"),
    ],
)
def test_mistake_names_itself(argument, named, capsys):
    with pytest.raises((SystemExit, ValueError)) as stop:
        main(["fit", "--config", GFT, argument])
    assert named in capsys.readouterr().err + str(stop.value)


def test_misspelt_key_in_a_file_names_itself(capsys, tmp_path):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("model: {loss: {class_path: lightning_gft.GFTLoss, init_args: {rectifer: null}}}")
    assert "rectifer" in refused(capsys, "fit", "--config", GFT, "--config", str(overlay))


def test_abstract_class_is_refused(capsys):
    assert "GroupLoss" in refused(capsys, "fit", "--config", GFT, "--model.loss=lightning_gft.GroupLoss")


def test_help_shows_every_argument_with_its_meaning(capsys):
    with pytest.raises(SystemExit):
        main(["fit", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for phrase in ("The language model to fine-tune", "Builds and scores groups", "Largest norm of the gradient"):
        assert phrase in text
