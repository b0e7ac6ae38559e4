"""Data from reasoning-gym: generated from a seed, without any file."""

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
"""Longest time to make an entry; the slowest of the defaults takes four."""
_ENTRY_MB = 4096


class ReasoningGymDataModule(PromptDataModule):
    """Prompts from tasks of reasoning-gym, with the gym's answers as demonstrations.

    Everything follows from ``seed``, on any number of ranks. No training question is one of validation or test, and
    these stay the same whatever ``size`` is. Rows whose own answer does not get the full score are passed over.
    Score responses by :class:`~lightning_gft.ReasoningGymReward`; docs/gym.md says what is known of each task.

    Args:
        tasks: The mixture: settings by task, null for none: ``{chain_sum: {weight: 2, config: {max_terms: 3}},
            spell_backward: null}``. A name of your own may take the place of the task's, which ``task`` then names.
        size: Training rows.
        val_size: Validation rows of each task, or of the mixture; 0 for no validation.
        test_size: Likewise for test.
        val_by_task: Whether each of several tasks is a validation and test set of its own, ``val/<task>/...`` in the
            logs, or one set has the mixture.
        expert_template: Text around the answer in a demonstration, which takes the place of ``{answer}``; null for no
            demonstrations.
        prompt_template: Text around the prompt, which takes the place of ``{prompt}``; for use without a chat template.
        use_chat_template: Whether prompts go through the tokenizer's chat template; null means if it has one.
        system_prompt: System message put before every conversation; for use with a chat template.
        chat_template_kwargs: Variables of the chat template, such as ``{enable_thinking: false}``.
        response_prefix: What every response begins with; it belongs to the prompt.
        max_prompt_length: Longest prompt, in tokens.
        max_response_length: Longest demonstration, in tokens, the end-of-sequence token included.
        overlong_prompts: Refuse a longer prompt, or drop its row. Nothing is ever cut.
        overlong_demonstrations: Drop a longer demonstration from its group, or refuse it. Nothing is ever cut.
        batch_size: Prompts per step and rank in training and prediction.
        eval_batch_size: Prompts per step and rank in validation and test.
        shuffle: Whether to shuffle the training rows anew every epoch; false where levels shall rise.
        seed: What questions and order are drawn from.
        num_workers: Workers of a rank that prepare batches; 0 prepares them in the rank itself.
        keep: Says which of the training rows are used, such as :class:`~lightning_gft.PassRateFilter`; null uses all.

    Raises:
        ModuleNotFoundError: If reasoning-gym is not installed.
        ValueError: If there is no such task, setting or level, or an option is out of range.
        TypeError: If an option is of another type.

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
            self._rows, self._questions = {}, set()  # kept for one setup alone

    @override
    def load_rows(self, split: Split) -> dict[str, list[Row]]:
        # The order of the sizes: what is measured does not depend on how much is trained on.
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
            "{chain_sum: null}, say"
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
            "out, or set val_by_task to true, and it is a validation set of its own"
        )
