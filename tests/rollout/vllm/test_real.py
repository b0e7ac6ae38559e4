"""A real vLLM draws the responses of the policy itself, and a run learns from it; the first test installs it."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lightning_gft import (
    AdapterSync,
    LoRA,
    Policy,
    PretrainedPolicy,
    ReloadSync,
    SamplingParams,
    TransformersEngine,
    VLLMEngine,
    WeightSync,
)
from lightning_gft.cli import main
from lightning_gft.errors import GFTRuntimeError
from lightning_gft.rollout.vllm.server import ManagedServer
from lightning_gft.types import pad_sequences
from tests.cli.command import GFT, column, logged
from tests.distributed.jobs import running
from tests.rollout.vllm.environment import ENV, NEEDS, served_arithmetic, vllm
from tests.rollout.vllm.receiver import Receiver
from tests.rollout.vllm.test_transfer import GlooSync
from tests.tiny import tiny_loader

pytestmark = pytest.mark.slow
LONG = 3000.0
"""Seconds that only a hanging server exceeds, however busy the machine is."""
FIT = (
    "--trainer.max_steps=20",
    "--trainer.val_check_interval=20",
    "--trainer.enable_progress_bar=false",
    "--data.batch_size=4",
    "--data.num_val=64",
    "--data.num_second_skill=8",
    "--model.evaluation.num_samples=2",
    "--model.evaluation.kl=false",
)
PROMPTS = ("12+7-5=", "3+4+9=", "28-11+6=", "17+2-8=")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return served_arithmetic(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def url(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a server that accepts weights in every way, with the original model in untied weights."""
    plain = tmp_path_factory.mktemp("plain")
    PretrainedPolicy(str(model)).load().save_plain(plain)
    takes = {"VLLM_SERVER_DEV_MODE": "1", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}
    server = ManagedServer(
        [vllm(), "serve", str(plain), *NEEDS, "--enable-lora", "--max-lora-rank", "8"],
        env={**ENV, **takes},
        log=tmp_path_factory.mktemp("server") / "vllm.log",
        start_timeout=LONG,
    )
    server.start()
    yield server.url
    server.stop()


def check_same(policy: Policy) -> list[list[int]]:
    """Compare the server's responses with the policy itself, and return the greedy ones."""
    prompts = [policy.tokenizer.encode(text) for text in PROMPTS]
    drawn = policy.generate(prompts, 8, SamplingParams(max_new_tokens=48), seed=1, with_greedy=True)
    again = policy.generate(prompts[:2], 8, SamplingParams(max_new_tokens=48), seed=1)
    assert [own[1:] for own in drawn[:2]] == again, "a response follows from its seed"
    assert len({tuple(one.token_ids) for one in drawn[0][1:]}) > 1

    served, policy.engine = policy.engine, TransformersEngine()
    expected = policy.generate(prompts, 1, SamplingParams(max_new_tokens=48, temperature=0), seed=0)
    policy.engine = served
    assert [own[0].token_ids for own in drawn] == [own[0].token_ids for own in expected]
    assert [own[0].finished for own in drawn] == [own[0].finished for own in expected]

    flat = [(ids, one) for ids, own in zip(prompts, drawn, strict=True) for one in own]
    sequences = pad_sequences([ids for ids, _ in flat], [one.token_ids for _, one in flat], policy.pad_token_id, "cpu")
    logprobs, _ = policy.token_logprobs(sequences, max_tokens=4096)
    given = torch.tensor([value for _, one in flat for value in one.logprobs or []])
    torch.testing.assert_close(given, logprobs[sequences.response_mask], atol=1e-4, rtol=0)
    return [own[0].token_ids for own in drawn]


def test_a_server_that_is_started_draws_what_the_policy_would(model: Path, tmp_path: Path):
    command = [vllm(), "serve", "{model}", *NEEDS]
    check_updates(model, None, command=command, env=ENV, log=str(tmp_path / "vllm.log"), start_timeout=LONG)


@pytest.mark.parametrize(
    ("lora", "weights"),
    [(LoRA(r=4), AdapterSync()), (LoRA(r=4), ReloadSync()), (None, ReloadSync())],
    ids=["adapter", "merged", "reload"],  # the first needs the server's model as it came
)
def test_a_server_that_runs_draws_what_the_policy_would(model: Path, url: str, lora: LoRA | None, weights: WeightSync):
    check_updates(model, lora, url=url, weights=weights)


def update(policy: Policy, size: float) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in policy.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * size)
    policy.weights_changed()


def check_updates(model: Path, lora: LoRA | None, **settings: Any) -> None:
    """Check a policy before and after an update."""
    policy = PretrainedPolicy(str(model), lora=lora, rollout=VLLMEngine(**settings)).load()
    try:
        before = check_same(policy)
        update(policy, 0.1 if lora else 0.05)
        after = check_same(policy)
        assert after != before
        # Ends and stop strings are the policy's.
        stopped = policy.generate(
            [policy.tokenizer.encode(PROMPTS[0])], 4, SamplingParams(48, min_new_tokens=3, stop_strings="="), seed=2
        )
        for one in stopped[0]:
            text = policy.decode(one.token_ids)
            assert text.count("=") == (1 if text.endswith("=") else 0)
        assert policy.engine.compute()["syncs"] == 2
    finally:
        policy.engine.close()


def test_a_server_without_sleep_mode_is_one_line(model: Path, url: str):
    policy = PretrainedPolicy(str(model), rollout=VLLMEngine(url=url, sleep=True)).load()
    with pytest.raises(GFTRuntimeError, match="expected a server with --enable-sleep-mode"):
        policy.generate([[5, 6]], 1, SamplingParams(max_new_tokens=2), seed=0)


def test_a_server_that_slept_draws_what_the_policy_would(model: Path, url: str, monkeypatch: pytest.MonkeyPatch):
    """The CPU build has no sleep mode, but answers its calls and pauses."""
    monkeypatch.setattr("lightning_gft.rollout.vllm.endpoint.has_sleep_mode", lambda client: True)
    policy = PretrainedPolicy(str(model), rollout=VLLMEngine(url=url, sleep=True)).load()
    before = check_same(policy)
    policy.engine.rest()
    assert check_same(policy) == before
    policy.engine.rest()
    update(policy, 0.05)
    assert check_same(policy) != before
    policy.engine.close()


def configured(folder: Path, model: Path, rollout: dict[str, Any], **source: Any) -> list[str]:
    """Return arguments of a `fit` of the quickstart with an engine, and with settings of its own samples."""
    init_args = {"model_name_or_path": str(model), "rollout": rollout}
    policy = {"class_path": "lightning_gft.PretrainedPolicy", "init_args": init_args}
    folder.mkdir()
    overlay = folder / "overlay.yaml"
    overlay.write_text(yaml.safe_dump({"model": {"policy": policy}}))
    settings = [f"--model.sampler.sources.self.{name}={value}" for name, value in source.items()]
    return ["fit", "--config", GFT, "--config", str(overlay), f"--trainer.default_root_dir={folder}", *settings]


def test_a_run_learns_as_with_the_transformers_engine(model: Path, url: str, tmp_path: Path):
    engines = {
        "transformers": {"class_path": "lightning_gft.TransformersEngine"},
        "vllm": {"class_path": "lightning_gft.VLLMEngine", "init_args": {"url": url}},
    }
    accuracy: dict[str, float] = {}
    for name, rollout in engines.items():
        main([*configured(tmp_path / name, model, rollout), *FIT])
        rows = logged(tmp_path / name)
        assert len(column(rows, "train/loss")) == 20
        assert max(column(rows, "train/sampling/logprob_difference")) < 1e-3
        accuracy[name] = column(rows, "val/greedy_accuracy")[-1]
    assert column(rows, "train/engine/restarts") == [0.0] * 20
    assert column(rows, "train/engine/syncs") == [1.0] * 20
    assert abs(accuracy["vllm"] - accuracy["transformers"]) < 0.15


def test_a_run_draws_the_next_batch_while_it_trains(model: Path, url: str, tmp_path: Path):
    rollout = {"class_path": "lightning_gft.VLLMEngine", "init_args": {"url": url, "max_logprob_difference": 1e-3}}
    short = ("--trainer.max_steps=6", "--trainer.val_check_interval=6")
    main([*configured(tmp_path / "run", model, rollout, ahead=1), *FIT, *short])
    rows = logged(tmp_path / "run")
    assert column(rows, "train/sampling/staleness/max") == [0.0] + [1.0] * 5
    first, *later = column(rows, "train/sampling/logprob_difference")
    assert first < 1e-4
    assert max(later) < 0.2, "one update apart"
    assert column(rows, "train/engine/syncs") == [1.0] * 6
    assert column(rows, "train/engine/retries") == [0.0] * 6


PARSES = """
import json, sys
from vllm.distributed.weight_transfer.nccl_engine import NCCLWeightTransferEngine as Engine

joining, update = json.loads(sys.argv[1])
joined = Engine.init_info_cls(**joining)
assert (len(joined.nccl_unique_id_bytes), joined.rank_offset, joined.packed) == (128, 1, False)
print(len(Engine.update_info_cls(**update).names))
"""


def test_vllm_knows_the_fields_of_a_transfer(tmp_path: Path):
    receiver = Receiver(tmp_path)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    loader = tiny_loader()
    loader.rollout = VLLMEngine(url=receiver.url, weights=GlooSync(), max_logprob_difference=None)
    policy = loader.load()
    policy.generate([[5, 6]], 1, SamplingParams(max_new_tokens=2), seed=0)
    receiver.shutdown()
    [joining], [update] = receiver.bodies("/init_weight_transfer_engine"), receiver.bodies("/update_weights")
    # A gloo group is found by an address and a port, one of NCCL by its unique id.
    fields = {name: value for name, value in joining["init_info"].items() if not name.startswith("master_")}
    fields["nccl_unique_id_b64"] = base64.b64encode(bytes(128)).decode()
    command = [str(Path(vllm()).with_name("python")), "-c", PARSES, json.dumps([fields, update["update_info"]])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == str(len(policy.model.state_dict()))


def written(log: Path) -> str:
    return log.read_text() if log.exists() else ""


def test_nothing_is_left_of_a_run_that_is_killed(model: Path, tmp_path: Path):
    init_args = {"command": f"{vllm()} serve {' '.join(NEEDS)}", "env": ENV, "log": str(tmp_path / "vllm.log")}
    rollout = {"class_path": "lightning_gft.VLLMEngine", "init_args": {**init_args, "start_timeout": LONG}}
    args = [*configured(tmp_path / "run", model, rollout), *FIT, "--trainer.max_steps=1000"]
    with running([sys.executable, "-m", "lightning_gft", *args], tmp_path / "log") as job:
        deadline = time.monotonic() + LONG
        while "POST /v1/completions" not in written(tmp_path / "vllm.log"):
            assert job.process.poll() is None, job.written()
            assert time.monotonic() < deadline, "hangs"
            time.sleep(0.5)
        served = [pid for pid in job.pids() if b"vllm" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        assert served, "the server has processes of its own"
        job.process.kill()
        job.process.wait()
        job.wait_until_gone()
