from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonargparse import ArgumentParser
from lightning.pytorch.trainer.states import TrainerFn
from transformers import PreTrainedTokenizerFast

from lightning_gft.data import GroupDataModule
from lightning_gft.data.files import DataFile
from lightning_gft.types import PromptBatch
from tests.data.conftest import CHATML, TokenizerFactory

Make = Callable[..., GroupDataModule]


def _rows(num: int, start: int = 0) -> list[dict[str, Any]]:
    return [
        {
            "problem": f"{i}+1=",
            "answer": f"so #{i + 1}",
            "expert": "x" * (i % 4 + 1),
            "teachers": ["1", "2"],
            "level": i,
        }
        for i in range(start, start + num)
    ]


def _write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


@pytest.fixture
def make(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> Make:
    """Return a builder of datamodules over ten rows, which has its tokenizer."""

    def build(num_rows: int = 10, **arguments: Any) -> GroupDataModule:
        path = _write(tmp_path / "train.jsonl", _rows(num_rows))
        data = GroupDataModule(path, **{"prompt_column": "problem", "batch_size": 4, **arguments})
        data.tokenizer = tokenizer
        return data

    return build


def _levels(batches: Iterator[PromptBatch] | Any) -> list[int]:
    return [level for batch in batches for level in batch.columns["level"]]


def test_columns_reach_the_batch(make: Make) -> None:
    data = make(expert_column="expert", teacher_column="teachers", answer_marker="#", shuffle=False)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch.prompts == ["0+1=", "1+1=", "2+1=", "3+1="]
    assert batch.references == ["1", "2", "3", "4"]
    assert {role: [len(given) for given in answers] for role, answers in batch.demonstrations.items()} == {
        "expert": [1, 1, 1, 1],
        "teacher": [2, 2, 2, 2],
    }
    assert batch.columns == {name: [row[name] for row in _rows(4)] for name in _rows(1)[0]}


def test_template_or_chat_template(make: Make, make_tokenizer: TokenizerFactory) -> None:
    plain = make(prompt_template="Q: {prompt}")
    plain.setup("fit")
    chat = make()
    chat.tokenizer = make_tokenizer(chat_template=CHATML)
    chat.setup("fit")
    assert plain.examples["train"][""][0].prompt == chat.examples["train"][""][0].prompt == "0+1="
    assert plain.examples["train"][""][0].prompt_ids == plain.tokenizer("Q: 0+1=").input_ids
    assert chat.examples["train"][""][0].prompt_ids == chat.tokenizer("<|user|>0+1=</s><|assistant|>").input_ids


def test_every_row_once_an_epoch_and_the_smaller_batch_kept(make: Make) -> None:
    data = make()
    data.setup("fit")
    batches = list(data.train_dataloader())
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert sorted(_levels(batches)) == list(range(10))
    assert _levels(batches) != list(range(10))


def test_no_validation_data_no_validation(make: Make) -> None:
    data = make()
    data.setup("fit")
    assert data.val_dataloader() == []


@pytest.mark.parametrize(("stage", "split"), [("validate", "val"), ("test", "test")])
def test_stage_without_data_is_refused(make: Make, stage: str, split: str) -> None:
    with pytest.raises(ValueError, match=f"{split} data: .*got none; set data.{split}_split or data.{split}_path$"):
        make().setup(stage)
    with pytest.raises(ValueError, match=f"{split} data: expected rows, got none"):
        make().setup(TrainerFn(stage))


def test_fraction_is_held_out_by_the_seed(make: Make) -> None:
    held_out = {}
    for seed in (0, 0, 1):
        data = make(val_split=0.3, seed=seed)
        data.setup("fit")
        [val] = data.val_dataloader()
        train = _levels(data.train_dataloader())
        assert len(_levels(val)) == 3
        assert sorted(_levels(val) + train) == list(range(10))
        assert held_out.setdefault(seed, _levels(val)) == _levels(val)
    assert held_out[0] != held_out[1]


def test_paths_of_their_own_for_validation_and_test(make: Make, tmp_path: Path) -> None:
    data = make(
        val_path=_write(tmp_path / "val.jsonl", _rows(3, 100)),
        test_path=_write(tmp_path / "test.jsonl", _rows(2, 200)),
        max_train_rows=5,
        max_val_rows=2,
    )
    data.setup()
    assert sorted(_levels(data.train_dataloader())) == list(range(5))
    assert [_levels(loader) for loader in data.val_dataloader()] == [[100, 101]]
    assert [_levels(loader) for loader in data.test_dataloader()] == [[200, 201]]


def test_splits_of_a_folder(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    for number, split in enumerate(("train", "validation", "test")):
        _write(tmp_path / f"{split}.jsonl", _rows(2, 10 * number))
    data = GroupDataModule(str(tmp_path), prompt_column="problem", val_split="validation", test_split="test")
    data.tokenizer = tokenizer
    data.setup()
    assert [[_levels(loader) for loader in loaders] for loaders in (data.val_dataloader(), data.test_dataloader())] == [
        [[10, 11]],
        [[20, 21]],
    ]


def test_prediction_keeps_the_order_of_the_data(make: Make) -> None:
    data = make()
    data.setup("predict")
    [loader] = data.predict_dataloader()
    assert _levels(loader) == list(range(10))


def test_dropped_demonstrations_are_counted_and_warned_of_once(make: Make) -> None:
    data = make(expert_column="expert", teacher_column="teachers", max_response_length=4)
    with pytest.warns(UserWarning, match=r"train data: too long and dropped: 2 expert \(of 10 rows\)") as caught:
        data.setup("fit")
    assert len([warning for warning in caught if "dropped" in str(warning.message)]) == 1
    assert data.dropped == {"train/expert": 2}
    data.limits = type(data.limits)(max_response_length=5)
    data.setup("fit")
    assert data.dropped == {}


def test_nothing_left_is_refused(make: Make) -> None:
    data = make(max_prompt_length=1, overlong_prompts="drop")
    with (
        pytest.warns(UserWarning, match="10 prompt"),
        pytest.raises(ValueError, match="expected prompts within the limit of max_prompt_length=1"),
    ):
        data.setup("fit")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"expert_column": "solution"}, "train data: `expert_column`: expected one of the columns .*, got 'solution'"),
        ({"answer_marker": "####"}, "train data: row 0 .*, column 'answer': expected a text with answer_marker='####'"),
        ({"max_prompt_length": 3}, "train data: row 0 .*max_prompt_length=3"),
        ({"train_split": "dev"}, r"`train_split` \('dev'\): expected a split of"),
        ({"val_split": "dev"}, r"`val_split` \('dev'\): expected a split of"),
        ({"test_split": "dev"}, r"`test_split` \('dev'\): expected a split of"),
        ({"num_rows": 1, "val_split": 0.5, "prompt_column": "q"}, "`prompt_column`: expected one of the columns"),
        ({"num_rows": 1, "val_split": 0.5}, "`val_split`: expected a share that leaves rows .*, got 0.5 of 1 rows"),
    ],
)
def test_bad_input_is_refused_in_setup(make: Make, arguments: dict[str, Any], words: str) -> None:
    data = make(**arguments)
    with pytest.raises(ValueError, match=words):
        data.setup()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"val_split": 1.5}, "`val_split`: expected a number above 0 and below 1, or the name of a split, got 1.5"),
        ({"val_split": 0.5, "val_path": "val.jsonl"}, "expected the name of a split beside val_path, got 0.5"),
        ({"max_train_rows": 0}, "`max_train_rows`: expected a whole number of at least 1.*, got 0"),
        ({"max_response_length": 0}, "`max_response_length`: expected a whole number of at least 1.*, got 0"),
        ({"batch_size": 0}, "`batch_size`: expected a whole number of at least 1.*, got 0"),
        ({"num_workers": -1}, "`num_workers`: expected a whole number of at least 0.*, got -1"),
        ({"answer_marker": None}, "`answer_marker`: expected a text, got null; in YAML, quote"),
    ],
)
def test_bad_options_are_refused_at_once(make: Make, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make(**arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"batch_size": "8"}, "`batch_size`: expected a whole number of at least 1, got '8'"),
        ({"eval_batch_size": 2.5}, "`eval_batch_size`: expected a whole number of at least 1, got 2.5"),
        ({"max_val_rows": 2.5}, "`max_val_rows`: expected a whole number of at least 1, or null for all rows, got 2.5"),
        ({"max_prompt_length": "9"}, "`max_prompt_length`: expected a whole number of at least 1, or null .* '9'"),
        ({"shuffle": None}, "`shuffle`: expected a bool, got None; give one such as true"),
        ({"val_path": 7}, "`val_path`: expected a path or a name on the hub, got 7"),
    ],
)
def test_options_of_another_type_are_refused_at_once(make: Make, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        make(**arguments)


def test_path_must_be_given() -> None:
    with pytest.raises(TypeError, match="`path`: expected a path or a name on the hub, got None"):
        GroupDataModule(path=None)  # type: ignore[arg-type]


def test_missing_validation_file_is_named_as_such(make: Make) -> None:
    with pytest.raises(FileNotFoundError, match=r"`val_path` \('nowhere\.jsonl'\): expected a path that exists"):
        make(val_path="nowhere.jsonl").setup("fit")


@pytest.mark.parametrize(("given", "parsed"), [("0.1", 0.1), ("validation", "validation"), ("null", None)])
def test_val_split_is_read_from_the_command_line(given: str, parsed: float | str | None) -> None:
    parser = ArgumentParser()
    parser.add_class_arguments(GroupDataModule, "data")
    assert parser.parse_args(["--data.path=rows.json", f"--data.val_split={given}"]).data.val_split == parsed


def test_every_argument_has_its_help() -> None:
    parser = ArgumentParser()
    parser.add_class_arguments(GroupDataModule, "data")
    silent = [action.dest for action in parser._actions if action.dest.startswith("data.") and not action.help]
    assert silent == []


def test_conversations_train_on_their_last_turn(tmp_path: Path, make_tokenizer: TokenizerFactory) -> None:
    turns = [{"from": "human", "value": "1+1="}, {"from": "gpt", "value": "2"}]
    path = _write(tmp_path / "train.jsonl", [{"conversations": turns}, {"conversations": [*turns, *turns]}])
    data = GroupDataModule(path, conversation_column="conversations", answer_column="conversations", val_path=path)
    data.tokenizer = make_tokenizer(chat_template=CHATML)
    data.setup("fit")
    first, second = data.examples["train"][""]
    assert data.tokenizer.convert_ids_to_tokens(first.prompt_ids) == ["<|user|>", *"1+1=", "</s>", "<|assistant|>"]
    assert [data.tokenizer.convert_ids_to_tokens(e.demonstrations["expert"][0].token_ids) for e in (first, second)] == [
        ["2", "</s>"]
    ] * 2
    assert len(second.prompt_ids) > 2 * len(first.prompt_ids)
    assert [example.prompt_ids for example in data.examples["val"][""]] == [first.prompt_ids, second.prompt_ids]
    assert {example.reference for example in data.examples["val"][""]} == {"2"}


def test_conversations_without_any_answer_are_refused(tmp_path: Path, make_tokenizer: TokenizerFactory) -> None:
    path = _write(tmp_path / "train.jsonl", [{"messages": [{"role": "user", "content": "hi"}]}])
    data = GroupDataModule(path, conversation_column="messages", answer_column=None)
    data.tokenizer = make_tokenizer(chat_template=CHATML)
    with pytest.raises(
        ValueError, match="`conversation_column`: expected a demonstration in some row of column 'messages'"
    ):
        data.setup("fit")


def test_options_of_the_template_reach_prompts_and_demonstrations(make: Make, make_tokenizer: TokenizerFactory) -> None:
    template = CHATML + "{% if add_generation_prompt and thinking %}[{% endif %}"
    template = template.replace(
        "{{ message['content'] }}",
        "{% if thinking and message.role == 'assistant' %}[{% endif %}{{ message['content'] }}",
    )
    data = make(expert_column="expert", chat_template_kwargs={"thinking": True}, response_prefix="so ")
    data.tokenizer = make_tokenizer(chat_template=template)
    data.setup("fit")
    example = data.examples["train"][""][0]
    ids = [*example.prompt_ids, *example.demonstrations["expert"][0].token_ids]
    assert "".join(data.tokenizer.convert_ids_to_tokens(ids)) == "<|user|>0+1=</s><|assistant|>[so x</s>"


def test_a_file_is_read_once_for_all_splits(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    read, plain = [], DataFile.read
    monkeypatch.setattr(DataFile, "read", lambda file: read.append(file.path) or plain(file))
    data = make(train_split="train[:6]", val_split="train[6:8]", test_split="train[8:]")
    data.setup(None)
    assert [len(data.examples[split][""]) for split in ("train", "val", "test")] == [6, 2, 2]
    assert len(read) == 1
    data.setup("test")  # the file may have changed since
    assert len(read) == 2


def test_training_rows_are_counted_where_a_path_is_written_in_another_way(make: Make, tmp_path: Path) -> None:
    data = make()
    (tmp_path / "x").mkdir()
    data.val_path = str(tmp_path / "x" / ".." / Path(data.path).name)
    with pytest.warns(UserWarning, match="val data: 10 of 10 rows are also training rows"):
        data.setup("fit")
