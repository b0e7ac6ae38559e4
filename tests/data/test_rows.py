"""What a datamodule says of rows that cannot be used, or have a gap."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from lightning_gft.data import GroupDataModule


def _rows(num: int) -> list[dict[str, Any]]:
    return [{"problem": f"{i}+1=", "answer": f"{i + 1}", "expert": "x", "level": i} for i in range(num)]


def _write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def _with(
    path: Path, rows: list[dict[str, Any]], tokenizer: PreTrainedTokenizerFast, **options: Any
) -> GroupDataModule:
    data = GroupDataModule(_write(path / "rows.jsonl", rows), **{"prompt_column": "problem", **options})
    data.tokenizer = tokenizer
    return data


def test_rows_keep_their_numbers_when_others_are_held_out(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    data = _with(tmp_path, _rows(10), tokenizer, val_split=0.3, max_train_rows=5)
    data.setup("fit")
    for split in ("train", "val"):
        examples = data.examples[split][""]
        assert [example.row for example in examples] == [example.columns["level"] for example in examples]
        assert [list(example.columns) for example in examples] == [list(_rows(1)[0])] * len(examples)
    rows = [{**row, "problem": "" if row["level"] in (7, 8) else row["problem"]} for row in _rows(10)]
    for seed in range(4):  # whichever part the two fall into
        with pytest.raises(ValueError, match=r"(train|val) data: row [78] \(counting from 0\), column 'problem'"):
            _with(tmp_path, rows, tokenizer, val_split=0.3, seed=seed).setup("fit")


def test_type_of_a_cell_is_refused_with_its_data_set(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    rows = [{**_rows(1)[0], "problem": None}]
    with pytest.raises(TypeError, match=r"^train data: row 0 .*, column 'problem': .*got null"):
        _with(tmp_path, rows, tokenizer).setup("fit")


def test_missing_demonstrations_are_counted_once(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    rows = [{**row, "expert": [None, "", "x", "xxxx"][i % 4]} for i, row in enumerate(_rows(12))]
    data = _with(tmp_path, rows, tokenizer, expert_column="expert", max_response_length=4)
    with pytest.warns(
        UserWarning, match="train data: 9 of 12 rows have no expert demonstration, the first is row 0; 3 blank"
    ) as caught:
        data.setup("fit")
    assert len([warning for warning in caught if "have no expert" in str(warning.message)]) == 1
    assert data.dropped == {"train/expert": 3}


@pytest.mark.parametrize(
    ("expert", "options", "words"),
    [
        (
            "",
            {},
            "column 'expert', got none; correct the data, or set `expert_column: null`",
        ),
        ("xxx", {"max_response_length": 2}, r"3 are too long \(the limit is max_response_length=2\).*raise the limit"),
    ],
)
def test_column_without_any_demonstration_is_refused(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path, expert: str, options: dict[str, int], words: str
) -> None:
    rows = [{**row, "expert": expert} for row in _rows(3)]
    with pytest.raises(ValueError, match=f"train data: `expert_column`: expected .*{words}" if options else words):
        _with(tmp_path, rows, tokenizer, expert_column="expert", **options).setup("fit")


def test_evaluation_has_no_use_for_demonstrations(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    val_path = _write(
        tmp_path / "val.jsonl", [{name: cell for name, cell in row.items() if name != "expert"} for row in _rows(2)]
    )
    data = _with(tmp_path, _rows(2), tokenizer, val_path=val_path, expert_column="expert")
    data.setup("fit")
    assert [example.demonstrations for example in data.examples["val"][""]] == [{}] * 2
