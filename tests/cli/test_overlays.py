"""Overlays leave to the configuration below them what is its own: lengths, rates, rewards and callbacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from lightning_gft import FormatReward
from tests.cli.command import GFT, ROOT, printed_config, refused
from tests.cli.test_gsm8k import TRAIN
from tests.conftest import quick

OVERLAYS = ROOT / "configs/overlays"
GSM8K = str(ROOT / "configs/gsm8k.yaml")
CHANGES = {"lora": {"optimizer"}, "qlora": {"optimizer"}, "math": {"rewards"}}
"""What an overlay is for, of that which the others leave as it is."""
OF_ONE = {"base_second", "base_third", "stored"}
"""Overlays of one configuration alone."""
NAMES = sorted({path.stem for path in OVERLAYS.glob("*.yaml")} - OF_ONE)


def over(config: str, name: str) -> tuple[str, ...]:
    return "--config", config, "--config", str(OVERLAYS / f"{name}.yaml")


def kept(config: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that belong to a configuration, in a form that does not depend on the objective."""
    trainer, model, sampler = config["trainer"], config["model"], config["model"]["sampler"]["init_args"]
    own = [source["init_args"] for source in sampler["sources"].values() if "SelfSource" in source["class_path"]]
    return {
        "lengths": {model["evaluation"]["max_new_tokens"], *(source["max_new_tokens"] for source in own)},
        "optimizer": model["optimizer"],
        "rewards": sampler["rewards"]["accuracy"],
        "callbacks": [callback["class_path"] for callback in trainer["callbacks"]][:2],
        "trainer": (trainer["precision"], trainer["enable_checkpointing"]),
    }


@pytest.fixture(scope="module")
def base() -> dict[str, Any]:
    return {}


@pytest.mark.parametrize("name", quick(NAMES, "dapo", "dr_grpo", "fast_check", "gated_format", "luffy", "sft_gft_grpo"))
def test_an_overlay_keeps_what_is_of_the_configuration_below(name: str, base: dict[str, Any], capsys):
    if not base:
        base |= kept(printed_config(capsys, "--config", GSM8K))
    config = printed_config(capsys, *over(GSM8K, name))
    now = kept(config)
    assert {setting for setting in base if now[setting] != base[setting]} == CHANGES.get(name, set())
    schedules = [callback["init_args"].get("stages", {}) for callback in config["trainer"]["callbacks"]]
    assert all(stage["learning_rate"] is None for schedule in schedules for stage in schedule.values())


def test_an_overlay_that_keeps_a_reward_needs_it(capsys, tmp_path: Path):
    gym = str(ROOT / "configs/reasoning_gym.yaml")
    said = refused(capsys, "fit", *over(gym, "gated_format"), f"--trainer.default_root_dir={tmp_path}")
    assert "error: `model.sampler.rewards.accuracy`: expected a class_path, got none" in said


@pytest.mark.parametrize("config", [GFT, GSM8K])
def test_callbacks_of_a_file_can_be_appended(config: str, capsys, tmp_path: Path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("trainer: {callbacks+: [{class_path: lightning_gft.callbacks.Watchdog}]}\n")
    second.write_text("trainer: {callbacks+: [{class_path: lightning.pytorch.callbacks.LearningRateMonitor}]}\n")
    before = printed_config(capsys, "--config", config)["trainer"]["callbacks"] or []
    layered = ("--config", config, "--config", str(first), "--config", str(second))
    after = printed_config(capsys, *layered)["trainer"]["callbacks"]
    assert after[: len(before)] == before
    assert [one["class_path"].split(".")[-1] for one in after[len(before) :]] == ["Watchdog", "LearningRateMonitor"]


@pytest.mark.skipif(not TRAIN.exists(), reason="GSM8K is not there")
def test_the_format_of_the_gate_suits_both_configurations(capsys):
    sampler = printed_config(capsys, *over(GSM8K, "gated_format"))["model"]["sampler"]["init_args"]
    reward = FormatReward(**sampler["rewards"]["format"]["init_args"])
    forms = {"12+3=15,#15": 1, "1=1,#-5": 1, "1 = 1\n#### 1,200": 1}  # and those that are none:
    forms |= {"12+3=15,#1,5": 0, "12+3=15": 0, "#15": 0, "1 = 1\n#### one": 0, "1=1#1#1": 0}
    solutions = pq.read_table(TRAIN)["answer"].to_pylist()[:1000]

    def scores(texts: list[str]) -> list[float]:
        return reward(prompts=texts, responses=texts, references=texts).tolist()

    assert scores(list(forms)) == [*forms.values()]
    assert sum(scores(solutions)) >= 998
