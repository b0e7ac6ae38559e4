"""The command line on tasks of reasoning-gym: training, and groups that stay scorable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lightning_gft.cli import main
from lightning_gft.data import GroupDataModule
from lightning_gft.gym.reward import ReasoningGymReward
from tests.cli.command import ROOT, column, logged

CONFIG = str(ROOT / "configs/quickstart/gym.yaml")


def _write_small(folder: Path) -> str:
    """Write what makes the configuration small and keeps its groups."""
    writer = {"class_path": "lightning_gft.callbacks.GroupWriter", "init_args": {"path": f"{folder}/groups"}}
    settings = {
        "trainer": {
            "callbacks": [writer],
            "max_steps": 2,
            "val_check_interval": 2,
            "log_every_n_steps": 1,
            "default_root_dir": f"{folder}/run",
            "enable_progress_bar": False,
        },
        "model": {
            "policy": {"init_args": {"config": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}}},
            "evaluation": {"num_samples": 2},
        },
        "data": {"init_args": {"size": 8, "val_size": 2, "test_size": 2, "batch_size": 4}},
    }
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(settings))
    return str(path)


@pytest.mark.slow
def test_training_and_its_groups(tmp_path: Path, in_process: None, tokenizer: Any) -> None:
    overlay = _write_small(tmp_path)
    main(["fit", "--config", CONFIG, "--config", overlay])
    rows = logged(tmp_path / "run")
    assert all(0 < reward < 1 for reward in column(rows, "train/reward"))  # the expert's among those of no use
    assert column(rows, "train/reward_by_source/expert") == [1.0, 1.0]
    assert column(rows, "train/rewards/gym/timeouts") == [0.0, 0.0]
    for task in ("spell_backward", "letter_counting"):
        assert len(column(rows, f"val/{task}/mean@2")) == 1
    main(["predict", "--config", CONFIG, "--config", overlay])
    data = GroupDataModule(f"{tmp_path}/groups", batch_size=8)
    data.tokenizer = tokenizer
    data.setup("predict")
    (batch,) = data.predict_dataloader()[0]
    reward = ReasoningGymReward("{answer}", workers=1)
    try:
        answers = {"responses": batch.references, "references": batch.references}
        assert [*reward(prompts=batch.prompts, **answers, **batch.columns)] == [1.0] * 8
    finally:
        reward.close()
