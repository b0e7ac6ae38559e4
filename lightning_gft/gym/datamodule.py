"""Data from reasoning-gym, generated from a seed without any file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedTokenizerBase
from typing_extensions import override

from lightning_gft.checks import check_count, shorten
from lightning_gft.data.columns import Columns, Row
from lightning_gft.data.datamodule import PromptDataModule, Split, data_name
from lightning_gft.data.examples import ExampleEncoder, LengthLimits, Overlong
from lightning_gft.data.filters import RowFilter
from lightning_gft.data.tokenization import PromptEncoder
from lightning_gft.errors import GFTTypeError, GFTValueError
from lightning_gft.extras import require
from lightning_gft.gym.answers import GYM_TEMPLATE, AnswerTemplate
from lightning_gft.gym.entries import ENTRY_COLUMN, GymEntry
from lightning_gft.gym.generation import Make, draw_mixture
from lightning_gft.gym.making import EntryMaker
from lightning_gft.gym.tasks import GymTask, Task
from lightning_gft.rewards.pool import WorkerPool

_ENTRY_SECONDS = 120.0
"""Most seconds to generate an entry; the slowest task needs four with its default settings."""
_ENTRY_MB = 4096


class ReasoningGymDataModule(PromptDataModule):
    """Prompts from tasks of reasoning-gym, with the gym's answers as demonstrations.

    ``seed`` determines all data, on any number of ranks. No training question is also one of validation or test, and
    these two do not depend on ``size``. An entry whose own answer does not get the full score is skipped. Score the
    responses by :class:`~lightning_gft.ReasoningGymReward`; docs/gym.md documents each task.

    Args:
        tasks: The mixture: the settings of each task by its name, or null for its defaults, such as
            ``{chain_sum: {weight: 2, config: {max_terms: 3}}, spell_backward: null}``. The key may be any name if
            ``task`` names the task.
        size: Number of training rows.
        val_size: Number of validation rows of each task, or of the mixture; 0 disables validation.
        test_size: Number of test rows of each task, or of the mixture; 0 disables the test.
        val_by_task: Whether each of several tasks has its own validation and test set, logged as ``val/<task>/...``;
            otherwise one set holds the mixture.
        expert_template: Text of a demonstration, with ``{answer}`` in the place of the answer; null for no
            demonstrations.
        prompt_template: Text around the prompt, with ``{prompt}`` in its place; for use without a chat template.
        use_chat_template: Whether to apply the tokenizer's chat template; null applies it if there is one.
        system_prompt: System message at the start of every conversation; for use with a chat template.
        chat_template_kwargs: Variables of the chat template, such as ``{enable_thinking: false}``.
        response_prefix: Text that every response begins with; it is a part of the prompt.
        max_prompt_length: Longest prompt, in tokens.
        max_response_length: Longest demonstration, in tokens, including the end-of-sequence token.
        overlong_prompts: Whether a longer prompt raises an error or drops its row; no prompt is ever truncated.
        overlong_demonstrations: Whether a longer demonstration is dropped from its group or raises an error; none is
            ever truncated.
        batch_size: Prompts per step and rank in training and prediction.
        eval_batch_size: Prompts per step and rank in validation and test.
        shuffle: Whether to reshuffle the training rows in every epoch; set false if levels are to rise.
        seed: Determines the questions and their order.
        num_workers: Worker processes of each rank that prepare batches; 0 prepares them in the rank itself.
        keep: Filter of the training rows, such as :class:`~lightning_gft.PassRateFilter`; null uses all rows.

    Raises:
        ModuleNotFoundError: If reasoning-gym is not installed.
        ValueError: If a task, setting or level does not exist, or an option is out of range.
        TypeError: If an option has another type.

    Example:
        >>> data = ReasoningGymDataModule({"spell_backward": GymTask(config={"max_word_len": 4})}, size=2, val_size=1)
        >>> data.tasks[0].configs
        [{'max_word_len': 4}]
    """

    def __init__(
        self,
        tasks: dict[str, GymTask | None],
        size: int = 1024,
        val_size: int = 64,
        test_size: int = 64,
        val_by_task: bool = True,
        expert_template: str | None = GYM_TEMPLATE,
        prompt_template: str = "{prompt}",
        use_chat_template: bool | None = None,
        system_prompt: str = "",
        chat_template_kwargs: dict[str, Any] | None = None,
        response_prefix: str = "",
        max_prompt_length: int = 2048,
        max_response_length: int = 2048,
        overlong_prompts: Overlong = "error",
        overlong_demonstrations: Overlong = "drop",
        batch_size: int = 8,
        eval_batch_size: int = 64,
        shuffle: bool = True,
        seed: int = 0,
        num_workers: int = 0,
        keep: RowFilter | None = None,
    ) -> None:
        require("reasoning_gym", setting="ReasoningGymDataModule", extra="gym")
        super().__init__(
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            shuffle=shuffle,
            seed=seed,
            num_workers=num_workers,
            keep=keep,
        )
        of = type(self).__name__
        self.sizes: dict[Split, int] = {
            "val": check_count("val_size", val_size, least=0, of=of),
            "test": check_count("test_size", test_size, least=0, of=of),
            "train": check_count("size", size, of=of),
        }
        self.val_by_task = val_by_task
        self.demonstration = None if expert_template is None else AnswerTemplate(expert_template, "expert_template")
        self.prompting: dict[str, Any] = {
            "prompt_template": prompt_template,
            "use_chat_template": use_chat_template,
            "system_prompt": system_prompt,
            "chat_template_kwargs": chat_template_kwargs,
            "response_prefix": response_prefix,
        }
        self.limits = LengthLimits(max_prompt_length, max_response_length, overlong_prompts, overlong_demonstrations)
        self.tasks = _as_tasks(tasks)
        self._trained = [task for task in self.tasks if task.weight > 0]
        _check_weights(self.tasks, self._trained, val_by_task)
        self._rows: dict[Split, dict[str, list[Row]]] = {}
        self._questions: set[str] = set()

    @override
    def setup(self, stage: str | None = None) -> None:
        try:
            super().setup(stage)
        finally:
            self._rows, self._questions = {}, set()  # kept only within one setup

    @override
    def load_rows(self, split: Split) -> dict[str, list[Row]]:
        # In the order of `sizes`, so that validation and test do not depend on the number of training rows.
        wanted = [*self.sizes][: [*self.sizes].index(split) + 1]
        if split not in self._rows:
            with WorkerPool(EntryMaker(), seconds=_ENTRY_SECONDS, memory_mb=_ENTRY_MB) as pool:
                for each in wanted:
                    if each not in self._rows:
                        self._rows[each] = self._draw(each, pool.map)
        return self._rows[split]

    @override
    def make_encoder(self, tokenizer: PreTrainedTokenizerBase) -> ExampleEncoder:
        columns = Columns(expert_column=None if self.demonstration is None else "expert")
        return ExampleEncoder(PromptEncoder(tokenizer, **self.prompting), columns, self.limits)

    def _draw(self, split: Split, make: Make) -> dict[str, list[Row]]:
        if self.sizes[split] == 0:
            return {}
        apart = split != "train" and self.val_by_task and len(self.tasks) > 1
        mixtures = {task.name: [task] for task in self.tasks} if apart else {"": self._trained}
        rows = {}
        for name, tasks in mixtures.items():
            key, what = f"{self.seed}/{split}", data_name(split, name)
            drawn = draw_mixture(tasks, self.sizes[split], key, make, self._questions, what)
            rows[name] = [self._row(task, entry) for task, entry in drawn]
        if split == "train" and self.demonstration and all(row["expert"] is None for row in rows[""]):
            raise GFTValueError(
                f"`expert_template`: expected null, since {', '.join(task.task for task in self.tasks)} has no answers "
                "of its own to demonstrate, only a scorer; set it to null"
            )
        return rows

    def _row(self, task: Task, entry: GymEntry) -> Row:
        answer = entry.entry["answer"]
        expert = None if self.demonstration is None or answer is None else self.demonstration.write(answer)
        question = entry.entry["question"]
        return {"prompt": question, "answer": answer, "expert": expert, "task": task.name, ENTRY_COLUMN: entry.write()}


def _as_tasks(tasks: Mapping[str, GymTask | None]) -> list[Task]:
    if not isinstance(tasks, Mapping) or not tasks:
        raise GFTTypeError(
            f"`tasks`: expected settings of at least one task by its name, got {shorten(tasks)}; write "
            "{chain_sum: null}, for example"
        )
    for name, settings in tasks.items():
        if settings is not None and not isinstance(settings, GymTask):
            raise GFTTypeError(
                f"`tasks.{name}`: expected GymTask(...) or null, got {shorten(settings)}; write GymTask(**settings)"
            )
    return [Task(name, settings or GymTask()) for name, settings in tasks.items()]


def _check_weights(tasks: list[Task], trained: list[Task], apart: bool) -> None:
    if not trained:
        raise GFTValueError(
            f"`tasks`: expected a weight above 0 for at least one, got 0 for all {len(tasks)}; raise one"
        )
    if len(trained) < len(tasks) and not apart:
        name = next(task.name for task in tasks if task.weight == 0)
        raise GFTValueError(
            f"`tasks.{name}.weight`: expected a share of the mixture with val_by_task=false, got 0; leave the task "
            "out, or set val_by_task to true, which makes it a validation set of its own"
        )
