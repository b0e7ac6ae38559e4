"""Every configuration parses, can be layered, and tells a mistake from a value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lightning_gft.cli import main
from tests.cli.command import GFT, ROOT, base_of, printed_config, refused

CONFIGS = sorted(path for path in ROOT.glob("configs/**/*.yaml") if path.parent.name != "overlays")
OVERLAYS = ROOT / "configs/overlays"
GSM8K = str(ROOT / "configs/gsm8k.yaml")


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT / "configs"))


def _layered(*names: str) -> list[str]:
    return [arg for name in names for arg in ("--config", str(OVERLAYS / f"{name}.yaml"))]


@pytest.mark.parametrize("path", CONFIGS, ids=_name)
def test_config_parses_and_its_print_can_be_fed_back(path: Path, capsys, tmp_path):
    config = printed_config(capsys, "--config", str(path))
    again = tmp_path / "printed.yaml"
    again.write_text(yaml.safe_dump(config))
    assert printed_config(capsys, "--config", str(again)) == config


def _leaves(settings: Any, *names: str) -> dict[tuple[str, ...], Any]:
    """Return every setting by its path; what another class takes belongs to its class."""
    if not isinstance(settings, dict):
        return {names: settings}
    return {key: leaf for name, value in settings.items() for key, leaf in _leaves(value, *names, name).items()}


def _holds(printed: Any, given: Any) -> bool:
    """Return whether a value is the one given, within lists too, where defaults are filled in."""
    if isinstance(given, list):
        return len(printed) == len(given) and all(map(_holds, printed, given))
    if isinstance(given, dict):
        return all(name in printed and _holds(printed[name], value) for name, value in given.items())
    return bool(printed == given)


@pytest.fixture(scope="module")
def base() -> dict[str, dict[tuple[str, ...], Any]]:
    return {}


@pytest.mark.parametrize("path", sorted(OVERLAYS.glob("*.yaml")), ids=_name)
def test_overlay_changes_what_it_names_and_nothing_else(path: Path, base, capsys):
    config = base_of(path) or GSM8K
    if config not in base:
        base[config] = _leaves(printed_config(capsys, "--config", config))
    layered = _leaves(printed_config(capsys, "--config", config, "--config", str(path)))
    changed = [key for key in base[config].keys() | layered if base[config].get(key) != layered.get(key)]
    given = _leaves(yaml.safe_load(path.read_text()))
    named = {(*names, name.rstrip("+")): leaf for (*names, name), leaf in given.items()}  # `callbacks+` appends
    places = {key[:n] for key in named for n in range(len(key)) if base[config].get(key[:n], "") is None}
    places |= {key[: key.index("class_path")] for key in named if "class_path" in key}
    # Parts by names of the user's choice: an overlay that names a set names all of it.
    places |= {key[: key.index(name) + 1] for key in named for name in ("sources", "rewards") if name in key}
    for key in changed:
        assert any(key[: len(place)] == place for place in (*named, *places)), key
    assert changed
    assert all(_holds(layered[key], value) for key, value in named.items())


@pytest.mark.parametrize(
    ("overlays", "model", "trains", "strategy"),
    [
        (("1.5b", "lora"), "Qwen/Qwen2.5-1.5B", "lora", "auto"),
        (("7b", "qlora", "ddp"), "Qwen/Qwen2.5-7B", "quantization", "ddp"),
        (("7b", "fsdp2"), "Qwen/Qwen2.5-7B", None, "fsdp2"),
    ],
)
def test_overlays_stack(overlays, model, trains, strategy, capsys):
    config = printed_config(capsys, "--config", GSM8K, *_layered(*overlays))
    policy = config["model"]["policy"]["init_args"]
    assert (policy["model_name_or_path"], config["trainer"]["strategy"]) == (model, strategy)
    assert (policy["lora"] is not None) == (trains is not None)
    assert (policy["quantization"] is not None) == (trains == "quantization")
    assert policy["torch_dtype"] == ("bfloat16" if trains else "float32")
    assert policy["rollout"]["init_args"]["max_batch_size"] == 64


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
        ("--model.sampler.sources.self.num_generation=3", "num_generation"),
        ("--model.evaluation.num_sample=3", "num_sample"),
        ("--data.num_trian=8", "num_trian"),
        ("--model.loss.reduction=tokenmean", "reduction"),
        (
            '--model.loss={"class_path": "lightning_gft.GRPOLoss", "init_args": {"epsilon": -1}}',
            "error: `model.loss.epsilon`: expected",
        ),
        ("--trainer.gradient_clip_val=1.0", "model.gradient_clip_val"),
        ("--trainer.accumulate_grad_batches=2", "model.micro_batch_tokens"),
    ],
)
def test_mistake_names_itself(argument, named, capsys):
    assert named in refused(capsys, "fit", "--config", GFT, argument)


def test_misspelt_key_in_a_file_names_itself(capsys, tmp_path):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("model: {loss: {class_path: lightning_gft.GFTLoss, init_args: {rectifer: null}}}")
    assert "rectifer" in refused(capsys, "fit", "--config", GFT, "--config", str(overlay))


def test_help_shows_every_argument_with_its_meaning(capsys):
    with pytest.raises(SystemExit):
        main(["fit", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for phrase in ("The language model to fine-tune", "Builds and scores groups", "Largest norm of the gradient"):
        assert phrase in text


@pytest.mark.parametrize("path", [*CONFIGS, *sorted(OVERLAYS.glob("*.yaml"))], ids=_name)
def test_validations_are_counted_over_epochs_so_that_few_rows_suit_too(path: Path):
    below = [Path(base_of(path) or GSM8K)] if path.parent == OVERLAYS else []
    settings = [yaml.safe_load(each.read_text()).get("trainer") or {} for each in (*below, path)]
    trainer = {name: value for layer in settings for name, value in layer.items()}
    assert not isinstance(trainer.get("val_check_interval"), int) or trainer["check_val_every_n_epoch"] is None
