from __future__ import annotations

from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from lightning_gft.arithmetic import ArithmeticDataModule, ArithmeticPretrainingDataModule
from tests.data.conftest import CHATML, TokenizerFactory

SPLITS = ("train", "val", "test")


def _all_rows(data: ArithmeticDataModule) -> dict[tuple[str, str], list[dict[str, Any]]]:
    return {(split, name): rows for split in SPLITS for name, rows in data.load_rows(split).items()}


def test_default_sizes_and_columns() -> None:
    rows = _all_rows(ArithmeticDataModule())
    assert {where: len(part) for where, part in rows.items()} == {
        ("train", ""): 512,
        ("val", ""): 128,
        ("val", "second_skill"): 64,
        ("test", ""): 128,
        ("test", "second_skill"): 64,
    }
    for part in rows.values():
        assert all(list(row) == ["prompt", "answer", "expert", "teacher"] for row in part)
        assert all(row["expert"].endswith("#" + row["answer"]) for row in part)
        assert all(len(row["teacher"]) == 3 and row["teacher"][0].endswith("#" + row["answer"]) for row in part)


def test_no_prompt_occurs_twice() -> None:
    rows = _all_rows(ArithmeticDataModule(num_hard=32))
    prompts = [row["prompt"] for part in rows.values() for row in part]
    assert len(set(prompts)) == len(prompts) == 512 + 2 * (128 + 64 + 32)


def test_same_seed_same_data_other_seed_other_data() -> None:
    first, same, other = (
        _all_rows(ArithmeticDataModule(num_hard=8, teacher_slip=0.3, seed=seed)) for seed in (0, 0, 1)
    )
    assert first == same
    assert all(first[where] != other[where] for where in first)


def test_hard_problems_have_more_numbers() -> None:
    hard = ArithmeticDataModule(num_hard=8, hard_operands=5).load_rows("val")["hard"]
    assert all(len(row["prompt"].replace("-", "+").split("+")) == 5 for row in hard)


def test_teacher_slips() -> None:
    rows = ArithmeticDataModule(teacher_slip=0.5).load_rows("train")[""]
    right = [solution.endswith("#" + row["answer"]) for row in rows for solution in row["teacher"]]
    assert 0.22 < sum(right) / len(right) < 0.36  # a quarter has no slip, a few slips cancel
    assert all(row["expert"].endswith("#" + row["answer"]) for row in rows)


def test_loaders_name_their_data_sets(tokenizer: PreTrainedTokenizerFast) -> None:
    data = ArithmeticDataModule(num_hard=8)
    data.tokenizer = tokenizer
    data.setup()
    for loaders in (data.val_dataloader(), data.test_dataloader()):
        batches = [next(iter(loader)) for loader in loaders]
        assert [(batch.dataset, len(batch)) for batch in batches] == [("", 128), ("second_skill", 64), ("hard", 8)]
    batch = next(iter(data.train_dataloader()))
    assert len(batch) == 16
    assert [len(given) for given in batch.demonstrations["teacher"]] == [3] * 16
    assert batch.references == batch.columns["answer"]


def test_no_teacher_no_teachers_role(tokenizer: PreTrainedTokenizerFast) -> None:
    data = ArithmeticDataModule(num_train=4, num_teacher=0)
    data.tokenizer = tokenizer
    data.setup("predict")
    assert list(data.examples["train"][""][0].demonstrations) == ["expert"]


def test_prompts_stay_plain_beside_a_chat_template(make_tokenizer: TokenizerFactory) -> None:
    data = ArithmeticDataModule(num_train=4)
    data.tokenizer = make_tokenizer(chat_template=CHATML)
    data.setup("predict")
    example = data.examples["train"][""][0]
    assert data.tokenizer.convert_ids_to_tokens(example.prompt_ids) == list(example.prompt)


def test_pretraining_is_evaluated_on_the_same_problems() -> None:
    for seed in (0, 3):
        pretraining = ArithmeticPretrainingDataModule(num_examples=10, seed=seed)
        for split in ("val", "test"):
            assert pretraining.load_rows(split) == ArithmeticDataModule(seed=seed).load_rows(split)


def test_pretraining_hands_out_one_demonstration_in_the_order_drawn(tokenizer: PreTrainedTokenizerFast) -> None:
    data = ArithmeticPretrainingDataModule(num_examples=100)
    data.tokenizer = tokenizer
    data.setup("fit")
    batches = list(data.train_dataloader())
    assert [len(batch) for batch in batches] == [64, 36]
    assert [prompt for batch in batches for prompt in batch.prompts] == [
        row["prompt"] for row in data.load_rows("train")[""]
    ]
    assert list(batches[0].demonstrations) == ["expert"]
    assert all(len(given) == 1 for given in batches[0].demonstrations["expert"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_train": 0}, "`num_train`: expected a whole number of at least 1, got 0"),
        ({"num_val": 0}, "`num_val`: expected a whole number of at least 1, got 0"),
        ({"num_second_skill": -1}, "`num_second_skill`: expected a whole number of at least 0, got -1"),
        ({"num_operands": 1}, "`num_operands`: expected a whole number of at least 2, got 1"),
        ({"max_operand": 0}, "`max_operand`: expected a whole number of at least 1, got 0"),
        ({"teacher_slip": 1.5}, "`teacher_slip`: expected a number from 0 to 1, got 1.5"),
        ({"num_hard": 8, "hard_operands": 3}, "`hard_operands`: expected more than num_operands=3, got 3"),
        ({"max_operand": 2}, "allow 768 different problems.*got 75 with.*max_operand=2"),
    ],
)
def test_options_that_cannot_work_are_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ArithmeticDataModule(**arguments)


def test_every_problem_that_there_is_can_be_asked_for() -> None:
    data = ArithmeticDataModule(num_train=10, num_val=4, num_operands=3, max_operand=1)
    assert len(_all_rows(data)[("train", "")]) == 10  # of 18, which the splits share out among them


@pytest.mark.parametrize("share", ["slip", "second_skill_fraction", "expert_style_fraction"])
def test_shares_lie_between_0_and_1(share: str) -> None:
    with pytest.raises(ValueError, match=f"`{share}`: expected a number from 0 to 1, got -0.1"):
        ArithmeticPretrainingDataModule(**{share: -0.1})
