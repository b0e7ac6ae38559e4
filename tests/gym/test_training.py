"""The command line on tasks of reasoning-gym: training, and groups that stay scorable."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pyarrow import parquet

from lightning_gft.cli import main
from lightning_gft.gym.reward import ReasoningGymReward
from tests.cli.command import ROOT, column, logged

CONFIG = str(ROOT / "configs/quickstart/gym.yaml")


@pytest.fixture
def overlay(tmp_path: Path) -> str:
    """Write what makes the configuration small."""
    path, groups = tmp_path / "small.yaml", f"{tmp_path}/groups.parquet"
    settings = {
        "trainer": {
            "callbacks": [
                {
                    "class_path": "lightning_gft.callbacks.GroupWriter",
                    "init_args": {"path": f"{tmp_path}/groups.parquet"},
                }
            ],
            "max_steps": 2,
            "val_check_interval": 2,
            "log_every_n_steps": 1,
            "default_root_dir": str(tmp_path / "run"),
            "enable_progress_bar": False,
        },
        "model": {
            "policy": {"init_args": {"config": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}}},
            "evaluation": {"num_samples": 2},
        },
        "data": {"init_args": {"size": 8, "val_size": 2, "test_size": 2, "batch_size": 4}},
    }
    path.write_text(yaml.safe_dump(settings))
    return str(path)


@pytest.mark.slow
def test_training_and_its_groups(overlay: str, tmp_path: Path, in_process: None) -> None:
    main(["fit", "--config", CONFIG, "--config", overlay])
    rows = logged(tmp_path / "run")
    assert all(0 < reward < 1 for reward in column(rows, "train/reward"))  # the expert's among those of no use
    assert column(rows, "train/reward_by_source/expert") == [1.0, 1.0]
    assert column(rows, "train/rewards/gym/timeouts") == [0.0, 0.0]
    assert {f"val/{task}/mean@2" for task in ("spell_backward", "letter_counting")} <= rows[-1].keys() | rows[-2].keys()
    main(["predict", "--config", CONFIG, "--config", overlay])
    groups = parquet.read_table(tmp_path / "groups.parquet").to_pylist()
    assert len(groups) == 8
    columns = {name: [row[name] for row in groups] for name in ("entry", "task")}
    reward = ReasoningGymReward("{answer}", workers=1)
    try:
        scores = reward(
            prompts=[row["prompt"] for row in groups],
            responses=[row["expert_responses"][0] for row in groups],
            references=[row["answer"] for row in groups],
            **columns,
        )
    finally:
        reward.close()
    assert [*scores] == [row["expert_rewards/gym"][0] for row in groups] == [1.0] * 8
