"""A real server, `transformers serve`, with the small policy of the package as the teacher."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from lightning_gft import ArithmeticDataModule, ArithmeticPolicy, EndpointSource, ExactMatchReward, Policy
from lightning_gft.cli import main
from lightning_gft.types import PromptBatch
from tests.cli.command import GFT, SMALL, column, logged
from tests.distributed.launch import free_port
from tests.forking import forking

pytestmark = pytest.mark.slow  # a real server
START = 600.0
"""Seconds that starting takes at most, however busy the machine is."""


def teacher_of(folder: Path) -> Path:
    """Write the small policy as a chat model that draws."""
    shutil.copytree(str(files("lightning_gft.arithmetic") / "assets/arithmetic"), folder)
    (folder / "chat_template.jinja").write_text("{% for message in messages %}{{ message.content }}{% endfor %}")
    reads = {"defaults": {"role": "assistant"}, "start_anchor": "="}  # what the server takes for the reply
    reads["fields"] = {"content": {"close_pattern": "<eos>", "content": "text"}}
    for name, more in (("tokenizer_config", {"response_template": reads}), ("generation_config", {"do_sample": True})):
        file = folder / f"{name}.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **more}))
    return folder


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The teacher's name and the server's address."""
    folder = tmp_path_factory.mktemp("serve")
    teacher, port = teacher_of(folder / "teacher"), free_port()
    process = forking().Process(target=serve, args=(str(teacher), port, folder / "log"))
    process.start()
    try:
        deadline = time.monotonic() + START
        while not is_up(f"http://localhost:{port}/health"):
            assert process.is_alive(), (folder / "log").read_text()
            assert time.monotonic() < deadline, "hangs"
            time.sleep(0.05)
        yield str(teacher), f"http://localhost:{port}/v1"
    finally:
        process.kill()
        process.join()


def serve(teacher: str, port: int, log: Path) -> None:
    """Be the command `transformers serve`."""
    from transformers.cli.transformers import main as transformers

    with log.open("w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    sys.argv = ["transformers", "serve", teacher, "--device=cpu", f"--port={port}"]
    transformers()


def is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310
            return True
    except OSError:
        return False


def asked(number: int) -> tuple[Policy, PromptBatch]:
    """Return the small policy, and a batch of prompts of its data."""
    policy = ArithmeticPolicy().load()
    data = ArithmeticDataModule(num_train=number, batch_size=number)
    data.tokenizer = policy.tokenizer
    data.setup("fit")
    (prompts,) = data.train_dataloader()
    return policy, prompts


def test_a_teacher_answers_as_a_demonstration_of_the_data(served: tuple[str, str], tmp_path: Path):
    policy, prompts = asked(4)
    source = EndpointSource(*served, num_responses=8, max_new_tokens=48, cache=str(tmp_path))
    source.setup()
    given = source.respond(prompts, policy, seed=0)
    figures = source.compute()
    source.close()
    texts = [[policy.decode(response.token_ids) for response in responses] for responses in given]
    assert [len(responses) for responses in given] == [8, 8, 8, 8]
    assert all(response.token_ids[-1] == policy.tokenizer.eos_token_id for own in given for response in own)
    assert len({text for own in texts for text in own}) > 4  # it draws
    reward = ExactMatchReward(marker="#")
    scores = reward(
        prompts=[prompt for prompt in prompts.prompts for _ in range(8)],
        responses=[text for own in texts for text in own],
        references=[reference for reference in prompts.references for _ in range(8)],
    )
    assert scores.any()  # about a third of its solutions are right: of 32, none once in 400,000 times
    assert (figures["requests"], figures["replies"], figures["not_rerendered"]) == (32, 32, 0)
    assert figures["tokens"] >= sum(len(response.token_ids) - 1 for own in given for response in own)


def test_cut_replies_are_none(served: tuple[str, str], tmp_path: Path):
    policy, prompts = asked(2)
    source = EndpointSource(*served, num_responses=2, max_new_tokens=3, cache=str(tmp_path))
    with pytest.warns(UserWarning, match="a teacher's reply was truncated"):
        assert source.respond(prompts, policy, seed=0) == [[], []]
    assert source.compute()["cut"] == 4
    source.close()


def test_another_model_is_refused_by_name(served: tuple[str, str], tmp_path: Path):
    policy, prompts = asked(1)
    source = EndpointSource("another", served[1], num_responses=1, cache=str(tmp_path))
    with pytest.raises(RuntimeError, match=r"`model` or `extra_body` .* 'another' .*400: Server is pinned to"):
        source.respond(prompts, policy, seed=0)
    source.close()


def test_the_command_line_trains_with_a_live_teacher(served: tuple[str, str], tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, url = served
    (tmp_path / "teacher.yaml").write_text(f"""
model:
  sampler:
    init_args:
      sources:
        expert: {{class_path: lightning_gft.ExpertSource}}
        teacher:
          class_path: lightning_gft.EndpointSource
          init_args: {{model: {model}, base_url: {url}, num_responses: 2, max_new_tokens: 48}}
""")
    main(["fit", f"--config={GFT}", "--config=teacher.yaml", "--trainer.default_root_dir=run", *SMALL])
    rows = logged(tmp_path / "run")
    assert column(rows, "train/sources/teacher/replies") == [8.0, 8.0]
    assert sum(column(rows, "train/sources/teacher/requests")) == 16.0
    assert len([*(tmp_path / "runs/endpoint").rglob("*.json")]) == 16
    assert column(rows, "train/reward_by_source/teacher")
