"""Datamodules of the arithmetic task, generated from a seed without any file."""

from __future__ import annotations

from functools import partial
from random import Random

from transformers import PreTrainedTokenizerBase
from typing_extensions import override

from lightning_gft.arithmetic.problems import draw_arithmetic, draw_letters, slips
from lightning_gft.arithmetic.rows import arithmetic_row, draw_splits, letter_row, mixture_rows
from lightning_gft.checks import check_count, check_number
from lightning_gft.data.columns import Columns, Row
from lightning_gft.data.datamodule import PromptDataModule, Split
from lightning_gft.data.examples import ExampleEncoder, LengthLimits
from lightning_gft.data.tokenization import PromptEncoder
from lightning_gft.errors import GFTValueError


class ArithmeticDataModule(PromptDataModule):
    """Sums to solve step by step, with solutions of an expert and a teacher.

    The training, validation and test sets share no problem. Further validation sets measure what the policy forgets
    (``second_skill``) and what carries over to harder sums (``hard``, off by default). Each test set is as large as
    its validation set.

    Args:
        num_train: Number of training problems.
        num_val: Number of validation problems; the test set has as many.
        num_second_skill: Number of validation problems of the second skill; 0 omits this set.
        num_hard: Number of validation problems of the harder variant; 0 omits this set.
        num_operands: Numbers that a problem adds and subtracts.
        hard_operands: The same for the harder variant; more than ``num_operands``.
        max_operand: Largest number in a problem; the smallest is 0.
        num_teacher: Teacher's solutions for each problem; 0 leaves out their column.
        teacher_slip: Probability that a step of the teacher's is wrong.
        batch_size: Prompts per step and rank in training and prediction.
        eval_batch_size: Prompts per step and rank in validation and test.
        shuffle: Whether to reshuffle the training rows in every epoch.
        seed: Determines the problems and their order.
        num_workers: Worker processes of each rank that prepare batches; 0 prepares them in the rank itself.

    Raises:
        ValueError: If an option is out of range, or the task has fewer different problems than asked for.

    Example:
        >>> row = ArithmeticDataModule(num_train=2).load_rows("train")[""][0]
        >>> list(row)
        ['prompt', 'answer', 'expert', 'teacher']
    """

    def __init__(
        self,
        num_train: int = 512,
        num_val: int = 128,
        num_second_skill: int = 64,
        num_hard: int = 0,
        num_operands: int = 3,
        hard_operands: int = 4,
        max_operand: int = 30,
        num_teacher: int = 3,
        teacher_slip: float = 0.0,
        batch_size: int = 16,
        eval_batch_size: int = 128,
        shuffle: bool = True,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            shuffle=shuffle,
            seed=seed,
            num_workers=num_workers,
        )
        check_count("num_train", num_train, least=1)
        check_count("num_second_skill", num_second_skill, least=0)
        check_count("num_hard", num_hard, least=0)
        check_count("num_teacher", num_teacher, least=0)
        _check_problems(num_train, num_val, "num_operands", num_operands, max_operand)
        if num_hard > 0:
            _check_problems(0, num_hard, "hard_operands", hard_operands, max_operand)
            if hard_operands <= num_operands:
                raise GFTValueError(
                    f"`hard_operands`: expected more than num_operands={num_operands}, got {hard_operands}; raise it"
                )
        self.num_train, self.num_val = num_train, num_val
        self.num_second_skill, self.num_hard = num_second_skill, num_hard
        self.num_operands, self.hard_operands, self.max_operand = num_operands, hard_operands, max_operand
        self.num_teacher = num_teacher
        self.teacher_slip = check_number("teacher_slip", teacher_slip, least=0, most=1)

    @override
    def load_rows(self, split: Split) -> dict[str, list[Row]]:
        # Validation comes first, so that it does not depend on the size of the training set.
        sizes = {"val": self.num_val, "test": self.num_val, "train": self.num_train}
        rows = {"": self._arithmetic_rows("", split, sizes, self.num_operands)}
        if split != "train" and self.num_second_skill > 0:
            sizes = {"val": self.num_second_skill, "test": self.num_second_skill}
            problems = draw_splits(draw_letters, sizes, f"{self.seed}/second_skill")[split]
            rows["second_skill"] = [letter_row(problem, self.num_teacher) for problem in problems]
        if split != "train" and self.num_hard > 0:
            sizes = {"val": self.num_hard, "test": self.num_hard}
            rows["hard"] = self._arithmetic_rows("hard", split, sizes, self.hard_operands)
        return rows

    @override
    def make_encoder(self, tokenizer: PreTrainedTokenizerBase) -> ExampleEncoder:
        teacher_column = "teacher" if self.num_teacher > 0 else None
        return _plain_encoder(tokenizer, Columns(expert_column="expert", teacher_column=teacher_column))

    def _arithmetic_rows(self, name: str, split: Split, sizes: dict[str, int], num_operands: int) -> list[Row]:
        draw = partial(draw_arithmetic, num_operands=num_operands, max_operand=self.max_operand)
        problems = draw_splits(draw, sizes, f"{self.seed}/{name}")[split]
        error = slips(self.teacher_slip, Random(f"{self.seed}/{name}/{split}/teacher"))
        return [arithmetic_row(problem, self.num_teacher, error) for problem in problems]


class ArithmeticPretrainingDataModule(PromptDataModule):
    """The mixture that the embedded base policy is trained on by supervised fine-tuning.

    Each training row has one demonstration, the expert's. The validation and test sets equal those of
    :class:`ArithmeticDataModule` with the same arguments; the training set may contain some of their problems.

    Args:
        num_examples: Number of training rows.
        slip: Probability that a step of a demonstration is wrong.
        second_skill_fraction: Share of the rows with a problem of the second skill.
        expert_style_fraction: Share of the sums with a solution in the expert's style.
        num_val: Number of validation problems; the test set has as many.
        num_second_skill: Number of validation problems of the second skill; 0 omits this set.
        num_operands: Numbers that a problem adds and subtracts.
        max_operand: Largest number in a problem; the smallest is 0.
        batch_size: Prompts per step and rank in training and prediction.
        eval_batch_size: Prompts per step and rank in validation and test.
        seed: Determines the problems.
        num_workers: Worker processes of each rank that prepare batches; 0 prepares them in the rank itself.

    Raises:
        ValueError: If an option is out of range.

    Example:
        >>> data = ArithmeticPretrainingDataModule(num_examples=2)
        >>> data.load_rows("val") == ArithmeticDataModule().load_rows("val")
        True
    """

    def __init__(
        self,
        num_examples: int = 153_600,
        slip: float = 0.3,
        second_skill_fraction: float = 0.15,
        expert_style_fraction: float = 0.1,
        num_val: int = 128,
        num_second_skill: int = 64,
        num_operands: int = 3,
        max_operand: int = 30,
        batch_size: int = 64,
        eval_batch_size: int = 128,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        # The rows are drawn in random order already.
        super().__init__(
            batch_size=batch_size, eval_batch_size=eval_batch_size, shuffle=False, seed=seed, num_workers=num_workers
        )
        check_count("num_examples", num_examples, least=1)
        shares = {
            "slip": slip,
            "second_skill_fraction": second_skill_fraction,
            "expert_style_fraction": expert_style_fraction,
        }
        self.num_examples = num_examples
        self.shares = {field: check_number(field, share, least=0, most=1) for field, share in shares.items()}
        self.num_operands, self.max_operand = num_operands, max_operand
        self.task = ArithmeticDataModule(
            num_train=1,
            num_val=num_val,
            num_second_skill=num_second_skill,
            num_operands=num_operands,
            max_operand=max_operand,
            seed=seed,
        )

    @override
    def load_rows(self, split: Split) -> dict[str, list[Row]]:
        if split != "train":
            return self.task.load_rows(split)
        rows = mixture_rows(
            self.num_examples,
            **self.shares,
            num_operands=self.num_operands,
            max_operand=self.max_operand,
            seed=self.seed,
        )
        return {"": rows}

    @override
    def make_encoder(self, tokenizer: PreTrainedTokenizerBase) -> ExampleEncoder:
        return _plain_encoder(tokenizer, Columns(expert_column="expert"))


def _plain_encoder(tokenizer: PreTrainedTokenizerBase, columns: Columns) -> ExampleEncoder:
    return ExampleEncoder(PromptEncoder(tokenizer, use_chat_template=False), columns, LengthLimits())


def _check_problems(num_train: int, num_val: int, field: str, num_operands: int, max_operand: int) -> None:
    """Raise an error if the task has fewer different problems than asked for."""
    check_count(field, num_operands, least=2)
    check_count("max_operand", max_operand, least=1)
    check_count("num_val", num_val, least=1)
    possible = (max_operand + 1) * (2 * max_operand + 1) ** (num_operands - 1)
    wanted = num_train + 2 * num_val
    if wanted > possible:
        raise GFTValueError(
            f"`{field}`, `max_operand`: expected to allow {wanted} different problems for training, validation and "
            f"test, got {possible} with {field}={num_operands} and max_operand={max_operand}; raise them, or ask for "
            "fewer problems"
        )
