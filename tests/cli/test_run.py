"""Whole runs through the real command line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter

import pyarrow.parquet as pq
import pytest
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from lightning_gft import ArithmeticPolicy
from lightning_gft.cli import main
from tests.cli.command import GFT, SFT, SMALL, column, logged, printed_config


@pytest.fixture(scope="module", params=[GFT, SFT], ids=["gft", "sft"])
def fitted(request, tmp_path_factory):
    """Return a configuration and the folder of a run of it."""
    root = tmp_path_factory.mktemp("fitted")
    main(["fit", "--config", request.param, f"--trainer.default_root_dir={root}", *SMALL])
    return request.param, root


def test_fit_logs_what_a_user_wants_to_see(fitted):
    _, root = fitted
    rows = logged(root)
    for key in ("reward", "loss", "grad_norm", "rectified_fraction", "rectified_weight_max", "tokens_per_second"):
        assert len(column(rows, f"train/{key}")) == 2, key
    assert column(rows, "train/reward_by_source/expert") == [1.0, 1.0]
    assert all(difference < 1e-4 for difference in column(rows, "train/sampling/logprob_difference"))
    for key in ("greedy_accuracy", "mean@2", "pass@2", "entropy", "kl", "second_skill/greedy_accuracy"):
        assert len(column(rows, f"val/{key}")) == 1, key
    assert list(root.glob("lightning_logs/*/events.out.tfevents.*"))


def test_the_written_configuration_is_what_was_parsed(fitted, capsys):
    config, root = fitted
    (written,) = root.glob("lightning_logs/*/config.yaml")
    given = printed_config(capsys, "--config", config, f"--trainer.default_root_dir={root}", *SMALL)
    of_command = {"ckpt_path": None, "weights_only": None}
    assert yaml.safe_load(written.read_text()) | of_command == given
    assert printed_config(capsys, "--config", str(written)) == given


def test_same_seed_same_run_other_seed_other_run(fitted, tmp_path):
    config, first = fitted
    roots = [first]
    for seed in (0, 1):  # the first is that of the configuration
        roots.append(tmp_path / str(seed))
        seeded = f"--seed_everything={seed}"
        main(["fit", "--config", config, seeded, f"--trainer.default_root_dir={roots[-1]}", *SMALL])
    losses = []
    for root in roots:
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


NEVER = """
from lightning_gft import TransformersEngine
class Never(TransformersEngine):
    def generate(self, *args, **kwargs):
        raise AssertionError("training from stored groups generates nothing")
"""


def test_predict_writes_groups_that_can_be_trained_on_without_generating(tmp_path, monkeypatch):
    main(["predict", "--config", GFT, f"--trainer.default_root_dir={tmp_path}", *SMALL])
    rows = pq.read_table(tmp_path / "groups").to_pylist()
    assert Counter(row["source"] for row in rows) == {"expert": 8, "teacher": 24, "self": 32}
    for row in rows:
        answer = re.compile("#" + re.escape(json.loads(row["reference"])) + "$")
        assert row["reward"] == row["accuracy"] == float(bool(answer.search(row["completion"])))

    stored = {"class_path": "lightning_gft.StoredSource"}
    sources = {
        "expert": {"class_path": "lightning_gft.ExpertSource"},
        "teacher": {**stored, "init_args": {"stored": "self", "as_source": "teacher", "num_responses": 3}},
        "own": {**stored, "init_args": {"stored": "self"}},
    }
    read = {"path": str(tmp_path / "groups"), "expert_column": "expert", "batch_size": 4}
    overlay = {
        "data": {"class_path": "lightning_gft.GroupDataModule", "init_args": read},
        "model": {
            "policy": {"init_args": {"rollout": {"class_path": "never.Never"}}},
            "sampler": {"init_args": {"sources": sources}},
            "evaluation": {"num_samples": 2},
        },
    }
    (tmp_path / "stored.yaml").write_text(yaml.safe_dump(overlay))
    (tmp_path / "never.py").write_text(NEVER)
    monkeypatch.syspath_prepend(tmp_path)
    root, layer = tmp_path / "distilled", str(tmp_path / "stored.yaml")
    limits = ("--trainer.max_steps=2", "--trainer.val_check_interval=null", "--trainer.enable_progress_bar=false")
    main(["fit", "--config", GFT, "--config", layer, f"--trainer.default_root_dir={root}", *limits])
    for source in ("expert", "teacher", "self"):
        assert len(column(logged(root), f"train/reward_by_source/{source}")) == 2


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
