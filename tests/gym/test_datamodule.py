from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from jsonargparse import ArgumentParser
from lightning.pytorch.callbacks import ModelCheckpoint
from transformers import PreTrainedTokenizerFast

from lightning_gft.data import GroupDataModule
from lightning_gft.gym.datamodule import ReasoningGymDataModule
from lightning_gft.gym.entries import read_entry
from lightning_gft.gym.tasks import GymTask
from tests.data.conftest import CHATML, TokenizerFactory
from tests.data.test_datamodule import _fit
from tests.gym.conftest import SUMS, WORDS, MakeData

SPLITS = ("train", "val", "test")


def _prompts(data: ReasoningGymDataModule, rank: int = 0, num_replicas: int = 1) -> list[str]:
    data.setup("fit")
    kwargs = {"rank": rank, "num_replicas": num_replicas}
    data.trainer = SimpleNamespace(distributed_sampler_kwargs=kwargs)  # type: ignore[assignment]
    return [prompt for batch in data.train_dataloader() for prompt in batch.prompts]


def test_rows_hold_what_training_and_scoring_need(make_data: MakeData) -> None:
    rows = make_data().load_rows("train")[""]
    assert Counter(row["task"] for row in rows) == {"sums": 12, "words": 12}
    for row in rows:
        assert row["expert"] == f"<answer>{row['answer']}</answer>"
        entry = read_entry(row["entry"])
        assert (entry.entry["question"], entry.entry["answer"]) == (row["prompt"], row["answer"])
        assert entry.scores["own"] == 1.0
        assert (entry.task, entry.config) == {
            "sums": ("chain_sum", SUMS.config),
            "words": ("spell_backward", WORDS.config),
        }[row["task"]]


def test_a_task_of_weight_0_is_measured_and_not_trained_on(make_data: MakeData) -> None:
    untrained = replace(WORDS, weight=0)
    data = make_data(tasks={"sums": SUMS, "words": untrained}, size=6)
    assert {row["task"] for row in data.load_rows("train")[""]} == {"sums"}
    assert {name: len(rows) for name, rows in data.load_rows("val").items()} == {"sums": 4, "words": 4}
    with pytest.raises(ValueError, match="`tasks`: expected a weight above 0 for at least one, got 0 for all 1"):
        make_data(tasks={"words": untrained})
    with pytest.raises(ValueError, match=r"`tasks.words.weight`: expected a share of the mixture .*, got 0; leave"):
        make_data(tasks={"sums": SUMS, "words": untrained}, val_by_task=False)


def test_each_task_is_a_validation_set_or_all_are_one(make_data: MakeData) -> None:
    def sizes(**arguments: Any) -> dict[str, dict[str, int]]:
        data = make_data(**{"test_size": 3, **arguments})
        return {split: {name: len(rows) for name, rows in data.load_rows(split).items()} for split in SPLITS}

    assert sizes() == {"train": {"": 24}, "val": {"sums": 4, "words": 4}, "test": {"sums": 3, "words": 3}}
    assert sizes(val_by_task=False) == {"train": {"": 24}, "val": {"": 4}, "test": {"": 3}}
    assert sizes(tasks={"sums": SUMS}) == {"train": {"": 24}, "val": {"": 4}, "test": {"": 3}}
    assert sizes(val_size=0, test_size=0) == {"train": {"": 24}, "val": {}, "test": {}}


@pytest.mark.parametrize("by_task", [True, False])
def test_no_question_occurs_in_two_splits(make_data: MakeData, by_task: bool) -> None:
    few = GymTask("chain_sum", config={"max_terms": 2, "max_digits": 1})
    data = make_data({"few": few, "also": few}, size=60, val_size=20, test_size=20, val_by_task=by_task)
    rows = [row for split in SPLITS for part in data.load_rows(split).values() for row in part]
    assert len({row["prompt"] for row in rows}) == len(rows) == 60 + (80 if by_task else 40)


def test_what_is_measured_does_not_depend_on_what_is_trained_on(make_data: MakeData) -> None:
    small, large = make_data(), make_data(size=80)
    for split in ("val", "test"):
        assert small.load_rows(split) == large.load_rows(split)
    assert small.load_rows("val") != make_data(seed=1).load_rows("val")
    assert make_data().load_rows("train") == small.load_rows("train")  # asked for first


def test_generating_leaves_the_generators_of_the_run_alone(tokenizer: PreTrainedTokenizerFast) -> None:
    random.seed(3)
    np.random.seed(3)
    states = random.getstate(), np.random.get_state()[1].tolist()
    data = ReasoningGymDataModule({"pool_matrix": None, "bf": None}, size=4, val_size=0, test_size=0)
    data.tokenizer = tokenizer
    data.setup("fit")
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states


@pytest.mark.slow
def test_rows_are_the_same_in_every_process() -> None:
    """The sets of texts in three of these tasks have another order in every process, and so had their questions."""
    program = """
import json, sys
from lightning_gft import ReasoningGymDataModule
names = ("isomorphic_strings", "ransom_note", "word_ladder", "pool_matrix")
data = ReasoningGymDataModule(dict.fromkeys(names), size=24, val_size=0, test_size=0)
print(json.dumps(data.load_rows("train")))
"""
    digests = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        run = subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True)
        assert len(json.loads(run.stdout)[""]) == 24
        digests.add(hashlib.sha256(run.stdout).hexdigest())
    assert len(digests) == 1


def test_ranks_take_turns_at_one_order(make_data: MakeData) -> None:
    alone = _prompts(make_data())
    first, second = (_prompts(make_data(), rank, 2) for rank in (0, 1))
    assert [prompt for pair in zip(first, second, strict=True) for prompt in pair] == alone
    assert not {*first} & {*second}


def test_a_run_resumes_in_mid_epoch(make_data: MakeData, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    whole = _fit(tokenizer, tmp_path, make_data(val_size=0), max_epochs=2).seen
    saver = ModelCheckpoint(tmp_path, every_n_train_steps=1, save_top_k=-1, filename="{step}")
    arguments = {"max_steps": 4, "callbacks": [saver], "enable_checkpointing": True}
    _fit(tokenizer, tmp_path, make_data(val_size=0), **arguments)
    resumed = _fit(tokenizer, tmp_path, make_data(val_size=0), ckpt_path=tmp_path / "step=4.ckpt", max_epochs=2).seen
    assert resumed == whole[4:]
    assert len(whole) == 12


def test_rows_go_in_order_where_levels_rise(make_data: MakeData) -> None:
    task = GymTask("chain_sum", levels=[{"num_terms": 0}, {"num_terms": 6}])
    data = make_data({"sums": task}, shuffle=False)
    data.setup("fit")
    entries = [read_entry(entry) for batch in data.train_dataloader() for entry in batch.columns["entry"]]
    assert [entry.config["max_terms"] for entry in entries] == [2] * 12 + [8] * 12


def test_prompts_are_rendered_as_other_data_are(make_data: MakeData, make_tokenizer: TokenizerFactory) -> None:
    data = make_data({"sums": SUMS}, system_prompt="Be brief.", expert_template="#{answer}")
    data.tokenizer = tokenizer = make_tokenizer(chat_template=CHATML)
    data.setup("fit")
    example = data.examples["train"][""][0]
    text = "".join(tokenizer.convert_ids_to_tokens(example.prompt_ids))
    assert text == f"<|system|>Be brief.</s><|user|>{example.prompt}</s><|assistant|>"
    (response,) = example.demonstrations["expert"]
    assert "".join(tokenizer.convert_ids_to_tokens(response.token_ids)) == f"#{example.reference}</s>"
    plain = make_data({"sums": SUMS}, prompt_template="Q: {prompt} A:", response_prefix=" so")
    plain.setup("fit")
    example = plain.examples["train"][""][0]
    assert "".join(tokenizer.convert_ids_to_tokens(example.prompt_ids)) == f"Q: {example.prompt} A: so"


def test_tasks_without_answers_have_no_demonstrations(make_data: MakeData) -> None:
    with pytest.raises(ValueError, match="`expert_template`: expected null, since graph_color has no answers of its"):
        make_data({"graph_color": None}).setup("fit")
    data = make_data({"graph_color": None}, expert_template=None)
    data.setup("fit")
    assert data.examples["train"][""][0].demonstrations == {}
    mixed = make_data({"graph_color": None, "sums": SUMS})
    with pytest.warns(UserWarning, match="12 of 24 rows have no expert demonstration"):
        mixed.setup("fit")


def test_files_of_its_rows_are_read_as_they_are(make_data: MakeData, tmp_path: Path, tokenizer: Any) -> None:
    rows = make_data().load_rows("train")[""]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = GroupDataModule(str(tmp_path / "rows.jsonl"), expert_column="expert", batch_size=24, shuffle=False)
    data.tokenizer = tokenizer
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch.columns["entry"] == [row["entry"] for row in rows]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"size": 0}, "`size` of ReasoningGymDataModule: expected a whole number of at least 1, got 0"),
        ({"val_size": -1}, "`val_size` of ReasoningGymDataModule: expected a whole number of at least 0, got -1"),
        ({"expert_template": "none"}, "`expert_template`: expected a text with {answer} in it"),
        ({"batch_size": 0}, "`batch_size`: expected a whole number of at least 1"),
    ],
)
def test_options_that_cannot_work_are_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ReasoningGymDataModule({"chain_sum": None}, **arguments)


def test_the_command_line_knows_the_settings_of_a_task(capsys: pytest.CaptureFixture[str]) -> None:
    parser = ArgumentParser()
    parser.add_class_arguments(ReasoningGymDataModule, "data")
    parsed = parser.parse_args(['--data.tasks={"chain_sum": {"levels": [0, {"num_terms": 2}]}, "ab": null}'])
    parsed = parser.parse_args([f"--data.tasks={json.dumps({'chain_sum': None})}", "--data.size=7"])
    assert (parsed.data.tasks, parsed.data.size) == ({"chain_sum": None}, 7)
    with pytest.raises(SystemExit):
        parser.parse_args(['--data.tasks={"chain_sum": {"wieght": 2}}'])
    assert "wieght" in capsys.readouterr().err
