"""Whole runs through the real command line."""

from __future__ import annotations

import re
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from lightning_gft import ArithmeticPolicy
from lightning_gft.cli import main
from tests.cli.command import GFT, SFT, SMALL, column, logged


@pytest.mark.parametrize("config", [GFT, SFT])
def test_fit_logs_what_a_user_wants_to_see(config, tmp_path):
    main(["fit", "--config", config, f"--trainer.default_root_dir={tmp_path}", *SMALL])
    rows = logged(tmp_path)
    for key in ("reward", "loss", "grad_norm", "rectified_fraction", "rectified_weight_max", "tokens_per_second"):
        assert len(column(rows, f"train/{key}")) == 2, key
    assert column(rows, "train/reward_by_source/expert") == [1.0, 1.0]
    assert all(difference < 1e-4 for difference in column(rows, "train/sampling/logprob_difference"))
    for key in ("greedy_accuracy", "mean@2", "pass@2", "entropy", "kl", "second_skill/greedy_accuracy"):
        assert len(column(rows, f"val/{key}")) == 1, key
    assert list(tmp_path.glob("lightning_logs/*/events.out.tfevents.*"))
    assert list(tmp_path.glob("lightning_logs/*/config.yaml"))


@pytest.mark.parametrize("config", [GFT, SFT])
def test_same_seed_same_run_other_seed_other_run(config, tmp_path):
    losses = []
    for number, seed in enumerate((1, 1, 2)):
        root = tmp_path / str(number)
        main(["fit", "--config", config, f"--seed_everything={seed}", f"--trainer.default_root_dir={root}", *SMALL])
        rows = logged(root)
        losses.append(column(rows, "train/loss") + column(rows, "train/grad_norm") + column(rows, "val/entropy"))
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_validate_and_test_measure_the_embedded_policy(tmp_path):
    for subcommand in ("validate", "test"):
        root = tmp_path / subcommand
        main([subcommand, "--config", GFT, f"--trainer.default_root_dir={root}", *SMALL])
        (row,) = logged(root)
        prefix = {"validate": "val", "test": "test"}[subcommand]
        assert float(row[f"{prefix}/greedy_accuracy"]) >= 0.75
        assert float(row[f"{prefix}/kl"]) == 0


def test_predict_writes_groups_that_can_be_trained_on(tmp_path):
    main(["predict", "--config", GFT, f"--trainer.default_root_dir={tmp_path}", *SMALL])
    groups = pq.read_table(tmp_path / "groups.parquet").to_pylist()
    assert len(groups) == 8
    assert all(len(row["teacher_responses"]) == len(row["teacher_rewards"]) == 3 for row in groups)
    answer = re.compile("#" + re.escape(groups[0]["answer"]) + "$")
    for text, reward in zip(groups[0]["self_responses"], groups[0]["self_rewards"], strict=True):
        assert reward == float(bool(answer.search(text)))
    data = {
        "class_path": "lightning_gft.GroupDataModule",
        "path": str(tmp_path / "groups.parquet"),
        "expert_column": "expert",
        "teacher_column": "self_responses",
        "batch_size": "4",
    }
    args = [f"--data{'' if key == 'class_path' else '.' + key}={value}" for key, value in data.items()]
    root = tmp_path / "distilled"
    small = [arg for arg in SMALL if not arg.startswith("--data") and "val_check" not in arg]
    main(["fit", "--config", GFT, f"--trainer.default_root_dir={root}", *args, *small])
    assert len(column(logged(root), "train/reward_by_source/teacher")) == 2


def test_export_is_a_plain_transformers_model(tmp_path):
    overlay = tmp_path / "export.yaml"
    overlay.write_text(f"""
trainer:
  callbacks:
    - {{class_path: lightning_gft.callbacks.HuggingFaceExport, init_args: {{path: {tmp_path / "policy"}}}}}
""")
    main(["fit", "--config", SFT, "--config", str(overlay), f"--trainer.default_root_dir={tmp_path}", *SMALL])
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "policy")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "policy")
    base = ArithmeticPolicy()
    assert tokenizer.encode("12+7-5=") == base.tokenizer.encode("12+7-5=")
    trained, before = model.get_input_embeddings().weight, base.load_model().get_input_embeddings().weight
    assert trained.shape == before.shape
    assert not trained.equal(before)


def test_console_script_is_installed():
    script = sys.executable.removesuffix("python").removesuffix("python3") + "lightning-gft"
    shown = subprocess.run([script, "--help"], capture_output=True, text=True, check=True).stdout
    assert all(name in shown for name in ("fit", "validate", "test", "predict"))
