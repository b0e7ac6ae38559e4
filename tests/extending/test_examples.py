"""Pieces that a user would add: one file and one YAML entry each, trained by the command line as it is."""

from __future__ import annotations

import http.server
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_gft import GroupDataModule
from lightning_gft.checkpoint import load_checkpoint
from lightning_gft.cli import main
from lightning_gft.samples import read_samples
from tests.cli.command import GFT, ROOT, SMALL, column, logged

EXAMPLES = Path(__file__).parent / "examples"


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Train with an example's YAML over the quickstart's, in a folder of a user's own, and return what was logged."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLES)
    before = set(sys.modules)

    def run(name: str, *args: str) -> list[dict[str, str]]:
        config = EXAMPLES / f"{name}.yaml"
        main(["fit", f"--config={GFT}", f"--config={config}", "--trainer.default_root_dir=run", *SMALL, *args])
        return logged(tmp_path / "run")

    yield run
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(EXAMPLES)):
            del sys.modules[name]


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.py")), ids=lambda file: file.stem)
def test_an_example_is_short(file: Path):
    assert len(file.read_text().splitlines()) <= 60
    assert file.with_suffix(".yaml").exists()


def test_a_policy_gradient_with_a_soft_gate(train):
    rows = train("sapo")
    assert all(0.5 < gate < 1 for gate in column(rows, "train/gate_mean"))  # of two updates, in the first it is 1
    assert all(norm > 0 for norm in column(rows, "train/grad_norm"))


def test_an_objective_on_top_of_one_of_the_package(train):
    rows = train("off_policy_mask")
    assert all(0 < share < 1 for share in column(rows, "train/off_policy_fraction"))
    assert all(0 < share < 1 for share in column(rows, "train/clip_ratio/region_mean"))


def test_a_wrapper_goes_around_any_loss(train):
    rows = train("forking_tokens", "--trainer.limit_val_batches=0")
    assert all(0 < share < 1 for share in column(rows, "train/frac_forking_tokens"))
    assert all(norm > 0 for norm in column(rows, "train/grad_norm"))
    # The loss within is heard, about the tokens that it was asked for.
    assert all(weight > 0 for weight in column(rows, "train/rectified_weight_max"))


def test_a_teacher_is_heard(train):
    rows = train("hint_teacher")
    assert column(rows, "train/sources/self/judged") == [8, 8]
    assert all(divergence > 0 for divergence in column(rows, "train/teacher_kl"))


def test_figures_by_source(train):
    rows = train("by_source")
    for source in ("expert", "teacher", "self"):
        assert all(0 < value <= 1 for value in column(rows, f"train/probability/{source}"))
        assert column(rows, f"train/entropy/{source}")


def test_a_reward_with_a_worker_counts_time_outs_and_is_closed(train, monkeypatch: pytest.MonkeyPatch):
    started: list[subprocess.Popen[str]] = []
    popen = subprocess.Popen

    def noted(*args: Any, **kwargs: Any) -> Any:
        started.append(popen(*args, **kwargs))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", noted)
    rows = train("worker_reward", "--trainer.limit_val_batches=0", "--model.sampler.rewards.verified.seconds=0.5")
    verifiers = [process for process in started if "endswith" in str(process.args)]
    timeouts = sum(column(rows, "train/rewards/verified/timeouts"))
    assert timeouts >= 1
    assert len(verifiers) == timeouts + 1
    assert all(process.poll() is not None for process in verifiers)
    assert column(rows, "train/rewards/verified/mean")


def test_an_engine_hears_of_each_change_of_weights(train):
    engine_class = importlib.import_module("noting_engine").NotingEngine
    made: list[Any] = []
    attach = engine_class.attach

    def noted(self: Any, policy: Any) -> None:
        made.append(self)
        attach(self, policy)

    engine_class.attach = noted
    rows = train("noting_engine")
    (engine,) = made
    assert column(rows, "train/engine/weight_version") == [1.0, 2.0]
    assert engine.versions[:2] == [0, 1]
    assert engine.versions[-1] >= 2  # the validation draws with the newest weights
    assert not engine.running


def test_a_source_asks_a_server_with_the_messages_of_the_prompt(train):
    asked: list[list[dict[str, str]]] = []

    class Teacher(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            messages = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"]
            asked.append(messages)
            answer = json.dumps({"choices": [{"message": {"content": "1+1=2,#2"}}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Teacher)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/v1/chat/completions"
        rows = train("server_source", f"--model.sampler.sources.server.url={url}")
    finally:
        server.shutdown()
    assert column(rows, "train/sources/server/requests") == [4.0, 4.0]
    assert column(rows, "train/reward_by_source/teacher")
    assert all(messages[-1]["role"] == "user" and messages[-1]["content"] for messages in asked)


def test_a_callback_writes_the_prompts_that_are_not_solved(train, tmp_path: Path):
    table = ("--trainer.callbacks+=lightning_gft.GroupTable", "--trainer.callbacks.num_groups=4")
    once = "--model.sampler.sources.self.num_generations=1"
    train("unsolved", "--trainer.limit_val_batches=0", *table, "--trainer.callbacks.responses=all", once)
    kept = {
        group.prompt: max(response.reward for response in group.responses if response.source == "self")
        for group in read_samples(tmp_path / "run/lightning_logs/version_0")
    }
    rows = {row["prompt"]: row for row in map(json.loads, Path("unsolved.jsonl").read_text().splitlines())}
    assert {prompt: prompt not in rows for prompt in kept} == {prompt: best >= 1 for prompt, best in kept.items()}
    assert 0 < len(rows) < len(kept)
    data = GroupDataModule("unsolved.jsonl")
    assert all(row["answer"] for row in rows.values())
    assert data.load_rows("train")[""][0]["prompt"] in rows


KILL = """
import os, signal, sys
from lightning.pytorch import Callback
class Kill(Callback):
    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == 3:
            os.kill(os.getpid(), signal.SIGKILL)
"""
KEEP = """
trainer:
  callbacks+:
    - class_path: lightning.pytorch.callbacks.ModelCheckpoint
      init_args: {filename: "{step}", every_n_train_steps: 1, save_top_k: -1}
"""


@pytest.mark.slow
def test_loss_and_sampler_exchanged_in_a_fit_that_is_killed_and_resumed(train, tmp_path: Path):
    (tmp_path / "keep.yaml").write_text(KEEP)
    kept = (f"--config={tmp_path / 'keep.yaml'}",)
    four = ("--trainer.max_steps=4", "--trainer.enable_checkpointing=true", "--trainer.limit_val_batches=0")
    rows = train("exchange", *four, *kept, f"--trainer.callbacks.dirpath={tmp_path / 'whole'}")
    assert len(column(rows, "train/rewards/form/mean")) == 2  # from the third step on
    assert len(column(rows, "train/threshold")) == 2
    (tmp_path / "kill.py").write_text(KILL)
    options = [f"--trainer.default_root_dir={tmp_path / 'killed'}", *SMALL, *four, *kept]
    options += [f"--trainer.callbacks.dirpath={tmp_path / 'parts'}"]
    configs = [f"--config={GFT}", f"--config={EXAMPLES / 'exchange.yaml'}"]
    command = [sys.executable, "-m", "lightning_gft", "fit", *configs]
    path = os.pathsep.join([str(tmp_path), str(EXAMPLES), str(ROOT), os.environ.get("PYTHONPATH", "")])
    killed = subprocess.run(
        [*command, *options, "--trainer.callbacks+=kill.Kill"], env={**os.environ, "PYTHONPATH": path}, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    main(["fit", *configs, *options, f"--ckpt_path={tmp_path / 'parts/step=3.ckpt'}"])
    whole, resumed = (load_checkpoint(tmp_path / folder / "step=4.ckpt") for folder in ("whole", "parts"))
    assert "loss.rectifier.threshold" in whole["state_dict"]
    torch.testing.assert_close(resumed["state_dict"], whole["state_dict"], rtol=0, atol=0)
