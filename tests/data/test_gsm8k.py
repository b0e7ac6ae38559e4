from __future__ import annotations

from pathlib import Path

import pytest

from lightning_gft import ScratchPolicy
from lightning_gft.data import GroupDataModule, load_rows

FOLDER = Path(__file__).parents[3] / "shared/data/gsm8k"


@pytest.mark.skipif(not FOLDER.is_dir(), reason="GSM8K is not here")
def test_gsm8k_is_read_as_published() -> None:
    data = GroupDataModule(
        str(FOLDER),
        prompt_column="question",
        expert_column="answer",
        answer_marker="####",
        prompt_template="Question: {prompt}\nAnswer: ",
        test_split="test",
    )
    chars = {char for row in load_rows(str(FOLDER), split="train") for text in row.values() for char in text}
    data.tokenizer = ScratchPolicy("".join(sorted(chars | set(data.prompting["prompt_template"])))).tokenizer
    data.setup("predict")
    examples = data.examples["train"][""]
    assert len(examples) == 7473
    assert all("####" in example.columns["answer"] for example in examples)
    assert all(example.reference and "#" not in example.reference for example in examples)
    assert examples[0].reference == "72"
    assert not data.dropped
    assert len(data.load_rows("test")[""]) == 1319
