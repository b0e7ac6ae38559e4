"""A datamodule reads a folder of groups as the data that the groups were sampled for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from lightning.pytorch import Trainer, seed_everything
from pyarrow import parquet

from lightning_gft import (
    ExpertSource,
    GFTLitModule,
    GroupDataModule,
    GroupSampler,
    NumericReward,
    Response,
    RFTLoss,
    ScratchPolicy,
    SelfSource,
    TeacherSource,
)
from lightning_gft.callbacks import GroupWriter
from lightning_gft.data import collate_examples
from lightning_gft.stored import StoredGroups
from tests.tiny import ALPHABET, tiny_loader

COLUMNS: dict[str, Any] = {
    "prompt_column": "question",
    "answer_column": "solution",
    "answer_marker": "#",
    "expert_column": "solution",
    "teacher_column": "teachers",
}
ROWS = [
    {"question": f"{n}+1=", "solution": f"{n + 1}#{n + 1}", "teachers": [str(n)] * (n % 3), "level": level}
    for n, level in enumerate(["007", 7, 7.0, None, [1, "1"], {"x": 1}, {"y": None}, True])
]


class Recording(NumericReward):
    """Notes all columns that it is given."""

    seen: dict[str, str] = {}  # noqa: RUF012

    def __call__(self, *, prompts: Sequence[str], **given: Any) -> Any:
        columns = [
            {name: values[i] for name, values in given.items() if name != "responses"} for i in range(len(prompts))
        ]
        self.seen.update(dict(zip(prompts, map(repr, columns), strict=True)))
        return super().__call__(prompts=prompts, **given)


def sample(data: GroupDataModule, folder: Path, reward: NumericReward | None = None) -> None:
    teacher = {} if data.columns.teacher_column is None else {"teacher": TeacherSource(2)}
    sampler = GroupSampler(
        {"expert": ExpertSource(), **teacher, "self": SelfSource(12, max_new_tokens=8)},
        {"accuracy": reward or NumericReward()},
    )
    seed_everything(0, verbose=False)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(accelerator="cpu", callbacks=[GroupWriter(str(folder))], enable_model_summary=False, **quiet)  # type: ignore[arg-type]
    trainer.predict(GFTLitModule(tiny_loader(), sampler, RFTLoss()), data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("stored")
    (root / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    sample(GroupDataModule(str(root / "rows.jsonl"), batch_size=3, **COLUMNS), root / "groups")
    return root


def loaded(path: Path, tokenizer: Any = None, stage: str = "fit", **options: Any) -> GroupDataModule:
    data = GroupDataModule(str(path), **{**COLUMNS, **options})
    data.tokenizer = tokenizer or tiny_loader().tokenizer
    data.setup(stage)
    return data


def test_rows_are_those_of_the_data_with_the_same_columns(folder: Path):
    ours = loaded(folder / "groups").examples["train"][""]
    theirs = loaded(folder / "rows.jsonl").examples["train"][""]
    for own, other in zip(ours, theirs, strict=True):
        for name in ("prompt_ids", "prompt", "reference", "demonstrations", "row", "messages", "left_out"):
            assert getattr(own, name) == getattr(other, name), name
        assert repr(own.columns) == repr(other.columns)
        assert other.stored == {}


def test_stored_responses_come_with_their_tokens(folder: Path):
    examples = loaded(folder / "groups").examples["train"][""]
    for example, group in zip(examples, StoredGroups(folder / "groups"), strict=True):
        for source, given in example.stored.items():
            kept = [response for response in group.responses if response.source == source]
            assert given == [Response(one.token_ids, one.finished, one.logprobs) for one in kept]
        assert [len(example.stored[source]) for source in ("expert", "self")] == [1, 12]
        assert len(example.stored["teacher"]) == int(example.row) % 3
    batch = collate_examples(examples, num_replicas=2, rank=1)
    assert batch.stored["self"] == [example.stored["self"] for example in examples]
    assert batch[2:4].stored["self"] == batch.stored["self"][2:4]


def test_slices_limits_and_rows_held_out_work_as_for_any_data(folder: Path):
    def read(**options: Any) -> tuple[list[str], list[str]]:
        ours, theirs = (loaded(folder / name, **options) for name in ("groups", "rows.jsonl"))
        prompts = [
            [example.prompt for split in ("train", "val") for example in data.examples[split].get("", [])]
            for data in (ours, theirs)
        ]
        assert prompts[0] == prompts[1]
        assert [e.row for e in ours.examples["train"][""]] == [e.row for e in theirs.examples["train"][""]]
        return tuple([e.prompt for e in ours.examples[split].get("", [])] for split in ("train", "val"))  # type: ignore[return-value]

    assert read(train_split="train[2:5]")[0] == ["2+1=", "3+1=", "4+1="]
    assert len(read(max_train_rows=3)[0]) == 3
    train, val = read(val_split=0.25, seed=3)
    assert (len(train), len(val)) == (6, 2)
    assert read(train_split="train[:75%]", val_split="train[75%:]")[1] == ["6+1=", "7+1="]
    held_out = loaded(folder / "groups", val_split=0.25).examples["val"][""]
    assert all(not example.stored and not example.demonstrations for example in held_out)


def test_another_tokenizer_gets_the_texts(folder: Path):
    student = ScratchPolicy("".join(reversed(ALPHABET))).tokenizer
    with pytest.warns(UserWarning, match=r"\d+ truncated stored self responses of another tokenizer were left out"):
        examples = loaded(folder / "groups", student).examples["train"][""]
    encoded = 0
    for example, group in zip(examples, StoredGroups(folder / "groups"), strict=True):
        for source, given in example.stored.items():
            texts = [one.completion for one in group.responses if one.source == source and one.finished]
            expected = [[*student.encode(text), student.eos_token_id] for text in texts if text]
            assert [response.token_ids for response in given] == expected
            assert all(response.finished and response.logprobs is None for response in given)
            encoded += len(given)
    assert encoded > 8


def test_the_same_vocabulary_with_another_end_is_another_tokenizer(folder: Path):
    other = tiny_loader().tokenizer
    other.eos_token = other.pad_token
    examples = loaded(folder / "groups", other).examples["train"][""]
    assert all(response.token_ids[-1] == other.eos_token_id for e in examples for response in e.stored["expert"])


def test_prompts_that_are_written_otherwise_are_warned_of(folder: Path, recwarn: pytest.WarningsRecorder):
    loaded(folder / "groups")
    assert not [warning for warning in recwarn if "differ from those in their groups" in str(warning.message)]
    with pytest.warns(UserWarning, match="8 of 8 prompts differ from those in their groups"):
        loaded(folder / "groups", prompt_template="a{prompt}")


def test_stored_responses_are_dropped_beyond_the_limit_and_counted(folder: Path):
    with pytest.warns(UserWarning, match=r"too long and dropped: .*\d+ stored self"):
        data = loaded(folder / "groups", max_response_length=4)
    given = [response for e in data.examples["train"][""] for responses in e.stored.values() for response in responses]
    assert 0 < max(len(response.token_ids) for response in given) <= 4
    with pytest.raises(ValueError, match=r"row \d .*'completion': the stored self response has \d tokens, more than"):
        loaded(folder / "groups", max_response_length=4, overlong_demonstrations="error", expert_column=None)


def test_a_folder_that_is_not_complete_says_so(folder: Path, tmp_path: Path):
    (tmp_path / "groups").mkdir()
    for shard in StoredGroups(folder / "groups").shards[:2]:
        (tmp_path / "groups" / shard.name).write_bytes(shard.read_bytes())
    with pytest.warns(UserWarning, match="only 6 of 8 prompts have groups; run the same prediction again"):
        assert len(loaded(tmp_path / "groups").examples["train"][""]) == 6


def test_a_configuration_is_refused(folder: Path):
    with pytest.raises(ValueError, match=r"`name`: expected none for .*, a folder of groups, got 'main'; set"):
        loaded(folder / "groups", name="main")


def test_groups_of_stored_groups_are_kept_likewise(folder: Path, tmp_path: Path):
    recorded = Recording()
    Recording.seen = {}
    sample(GroupDataModule(str(folder / "groups"), batch_size=3, **COLUMNS), tmp_path / "again", recorded)
    first, again = StoredGroups(folder / "groups"), StoredGroups(tmp_path / "again")
    assert [repr((g.columns, g.responses, g.reference)) for g in again] == [
        repr((g.columns, g.responses, g.reference)) for g in first
    ]
    assert {prompt: json.loads(json.dumps(ROWS[n]))["level"] for n, prompt in enumerate(Recording.seen)} == {
        f"{n}+1=": row["level"] for n, row in enumerate(ROWS)
    }


def test_values_of_parquet_columns_reach_rewards_as_they_were(tmp_path: Path):
    """Structs too, where a null may be a key that only other rows have."""
    table = pa.table(
        {
            "question": ["1+1=", "2+2="],
            "solution": ["#2", "#4"],
            "price": [Decimal("0.10"), None],
            "day": [date(2024, 1, 31), date(2024, 2, 29)],
            "blob": [b"\x00\xff", b""],
            "tools": [[{"name": "add", "strict": None}], [{"name": None, "strict": True}]],
        }
    )
    parquet.write_table(table, tmp_path / "rows.parquet")
    columns = {**COLUMNS, "teacher_column": None}
    seen = []
    for path, out in (("rows.parquet", "groups"), ("groups", "again")):
        Recording.seen = {}
        data = GroupDataModule(str(tmp_path / path), **columns)
        sampled = GroupDataModule.load_rows(data, "train")[""]
        sample(data, tmp_path / out, Recording())
        kinds = [type(row["tools"][0]).__name__ for row in sampled]
        seen.append((Recording.seen, [repr(dict(row)) for row in sampled], kinds))
    assert seen[0] == seen[1]
    assert seen[0][2] == ["Padded", "Padded"]
