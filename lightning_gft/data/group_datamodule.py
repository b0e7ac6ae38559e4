"""The user's own data: prompts with references and demonstrations, from files or the hub."""

from __future__ import annotations

import os
from collections.abc import Sequence
from os import PathLike
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from transformers import PreTrainedTokenizerBase
from typing_extensions import override

from lightning_gft.checks import check_count, check_number
from lightning_gft.data.columns import Columns, NumberedRows, Row
from lightning_gft.data.datamodule import PromptDataModule, Split
from lightning_gft.data.examples import ExampleEncoder, LengthLimits, Overlong
from lightning_gft.data.filters import RowFilter
from lightning_gft.data.loading import SplitTables, find_splits
from lightning_gft.data.paths import check_path
from lightning_gft.data.selection import Rows, Spans, count_shared
from lightning_gft.data.tokenization import PromptEncoder
from lightning_gft.errors import GFTTypeError, GFTValueError

_SHARE = "a number is the share of rows to hold out"


class GroupDataModule(PromptDataModule):
    r"""Prompts with references and demonstrations, from files, folders or the hub.

    Args:
        path: A .json, .jsonl, .csv, .tsv or .parquet file, a glob or folder of them, a folder written by
            ``save_to_disk``, the name of a data set on the hub, or a folder of groups written by ``predict``, whose
            rows are those that the groups were sampled for. A file is one split, ``"train"``, and so are groups.
            Values keep their types: the text ``"007"`` does not become a number.
        name: Configuration of a data set on the hub.
        prompt_column: Column with the prompt, a text or a list of messages; null only with ``conversation_column``.
        answer_column: Column with the value that a verifier compares responses with; null if there is none.
        expert_column: Column with the expert's demonstration, a text or a list of texts; null if there is none.
        teacher_column: Column with the teacher's responses, a text or a list of texts; null if there is none.
        prompt_template: Text around the prompt, which replaces ``{prompt}`` in it; for use without a chat template.
        use_chat_template: Whether to render prompts with the tokenizer's chat template; null does so if it has one.
        system_prompt: System message put before every conversation; for use with a chat template.
        answer_marker: The reference is the text after the last marker in the answer column, as ``####`` in GSM8K; if
            empty, the whole answer is the reference.
        max_prompt_length: Longest prompt, in tokens; null sets no limit besides the model's window.
        max_response_length: Longest demonstration, in tokens, with its end-of-sequence token; null as above.
        overlong_prompts: ``error`` raises an error for a longer prompt, ``drop`` drops its row; no prompt is truncated.
        overlong_demonstrations: ``drop`` drops a longer demonstration from its group, ``error`` raises an error; no
            demonstration is truncated.
        train_split: Split to train on. As in the ``datasets`` library, also slices by rows or percent, ``train[:1000]``
            or ``train[:80%]``, and sums, ``train+test``; the same holds for the other two. Null takes the only split.
        val_split: Split to validate on, of ``val_path`` if given; or the fraction of the training rows to hold out for
            it. Null without ``val_path`` disables validation.
        test_split: Split to test on, of ``test_path`` if given.
        val_path: File, folder or hub name of the validation data, if not at ``path``.
        test_path: File, folder or hub name of the test data, if not at ``path``.
        max_train_rows: Number of training rows to use, from the first; null for all.
        max_val_rows: Number of validation rows to use, from the first; null for all.
        batch_size: Prompts per step and rank in training and prediction.
        eval_batch_size: Prompts per step and rank in validation and test.
        shuffle: Whether to reshuffle the training rows every epoch.
        seed: Seed of the order and of the selection of held-out rows.
        num_workers: Worker processes per rank that prepare batches; 0 prepares them in the rank itself.
        conversation_column: Column with whole conversations (``messages``, ShareGPT's ``conversations``), in place of
            ``prompt_column`` and ``expert_column``: a last message of the assistant is the expert's demonstration, and
            those before it are the prompt. ``answer_column`` may be the same column, to read the reference from that
            message.
        chat_template_kwargs: Variables of the chat template, such as ``{enable_thinking: false}``.
        response_prefix: Beginning of every response, such as ``"<think>\n"``. It is part of the prompt, for own samples
            and demonstrations alike; a demonstration that begins with it does not get it twice.
        keep: Filter of the training rows, such as :class:`~lightning_gft.PassRateFilter`; null uses all.

    Raises:
        ValueError: If an option is out of range, or options contradict each other.
        TypeError: If a path is not a text, or a number is not a whole number.

    Example:
        >>> data = GroupDataModule(path="openai/gsm8k", name="main", prompt_column="question", answer_marker="####")
        >>> data.columns.expert_column is None
        True
    """

    def __init__(
        self,
        path: str,
        name: str | None = None,
        prompt_column: str | None = "prompt",
        answer_column: str | None = "answer",
        expert_column: str | None = None,
        teacher_column: str | None = None,
        prompt_template: str = "{prompt}",
        use_chat_template: bool | None = None,
        system_prompt: str = "",
        answer_marker: str = "",
        max_prompt_length: int | None = 1024,
        max_response_length: int | None = 2048,
        overlong_prompts: Overlong = "error",
        overlong_demonstrations: Overlong = "drop",
        train_split: str | None = "train",
        val_split: float | str | None = None,
        test_split: str | None = None,
        val_path: str | None = None,
        test_path: str | None = None,
        max_train_rows: int | None = None,
        max_val_rows: int | None = None,
        batch_size: int = 8,
        eval_batch_size: int = 64,
        shuffle: bool = True,
        seed: int = 0,
        num_workers: int = 0,
        conversation_column: str | None = None,
        chat_template_kwargs: dict[str, Any] | None = None,
        response_prefix: str = "",
        keep: RowFilter | None = None,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            shuffle=shuffle,
            seed=seed,
            num_workers=num_workers,
            keep=keep,
        )
        self.path, self.name = path, name
        self.train_split, self.val_split, self.test_split = train_split, val_split, test_split
        self.val_path, self.test_path = val_path, test_path
        self.max_train_rows, self.max_val_rows = max_train_rows, max_val_rows
        self.prompting: dict[str, Any] = {
            "prompt_template": prompt_template,
            "use_chat_template": use_chat_template,
            "system_prompt": system_prompt,
            "chat_template_kwargs": chat_template_kwargs,
            "response_prefix": response_prefix,
        }
        self.columns = Columns(
            prompt_column,
            answer_column,
            expert_column,
            teacher_column,
            answer_marker,
            conversation_column,
        )
        self.limits = LengthLimits(max_prompt_length, max_response_length, overlong_prompts, overlong_demonstrations)
        self._train_spans: Spans = []
        self._found: dict[tuple[str, str | None], SplitTables] = {}
        self._check_options()

    @override
    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        self._found = {}  # kept only during one setup, in which splits share what is read

    @override
    def load_rows(self, split: Split) -> dict[str, list[Row]]:
        rows = {"train": self._train_rows, "val": self._val_rows, "test": self._test_rows}[split]()
        return {} if rows is None else {"": rows}

    @override
    def make_encoder(self, tokenizer: PreTrainedTokenizerBase) -> ExampleEncoder:
        return ExampleEncoder(PromptEncoder(tokenizer, **self.prompting), self.columns, self.limits)

    def _train_rows(self) -> NumberedRows:
        rows = self._load_training_split()
        kept, _ = self._hold_out(len(rows))
        self._train_spans = rows.spans(self.max_train_rows)
        return rows.take(kept[: self.max_train_rows])

    def _val_rows(self) -> NumberedRows | None:
        if isinstance(self.val_split, float):
            rows = self._load_training_split()
            _, held_out = self._hold_out(len(rows))
            return rows.take(held_out[: self.max_val_rows])
        return self._rows_apart("val", self.val_path, self.val_split, self.max_val_rows)

    def _test_rows(self) -> NumberedRows | None:
        return self._rows_apart("test", self.test_path, self.test_split)

    def _load_training_split(self) -> Rows:
        return self._find("path", self.path, self.name).choose(self.train_split, "train_split")

    def _find(self, field: str, path: str, name: str | None = None) -> SplitTables:
        key = _identity(path, name)
        if key not in self._found:
            self._found[key] = find_splits(path, name, field)
        return self._found[key]

    def _rows_apart(
        self, role: str, path: str | None, split: str | None, most: int | None = None
    ) -> NumberedRows | None:
        if path is None and split is None:
            return None
        found = self._find("path", self.path, self.name) if path is None else self._find(f"{role}_path", path)
        rows = found.choose(split, f"{role}_split")
        taken = rows[:most]
        same = path is None or _identity(path, None) == _identity(self.path, self.name)
        shared = count_shared(rows.spans(most), self._train_spans) if same else 0
        if shared:
            rank_zero_warn(
                f"{role} data: {shared} of {len(taken)} rows are also training rows; to separate them, give slices "
                f"such as train_split: train[:90%] and {role}_split: train[90%:]"
            )
        return taken

    def _hold_out(self, num_rows: int) -> tuple[Sequence[int], Sequence[int]]:
        """Return the positions of the rows to train on and of those held out, each in the order of the data."""
        if not isinstance(self.val_split, float):
            return range(num_rows), []
        held_out = max(1, round(num_rows * self.val_split))
        if held_out == num_rows:
            self.columns.check(list(self._load_training_split()[0]))  # a file that is one object is no single row
            raise GFTValueError(
                f"`val_split`: expected a share that leaves rows to train on, got {self.val_split} of "
                f"{num_rows} rows; lower it"
            )
        order = torch.randperm(num_rows, generator=torch.Generator().manual_seed(self.seed)).tolist()
        return sorted(order[held_out:]), sorted(order[:held_out])

    def _check_options(self) -> None:
        for field in ("path", "val_path", "test_path"):
            path = getattr(self, field)
            if not isinstance(path, str | PathLike) and (path is not None or field == "path"):
                raise GFTTypeError(f"`{field}`: expected a path or a name on the hub, got {path!r}; write a text")
            if path is not None:
                check_path(field, path)
        for field in ("max_train_rows", "max_val_rows"):
            limit = getattr(self, field)
            if limit is not None:
                check_count(field, limit, otherwise="null for all rows")
        if self.max_val_rows is not None and self.val_split is None and self.val_path is None:
            raise GFTValueError(
                f"`max_val_rows`: expected null without val_split or val_path, got {self.max_val_rows}; "
                "give one of them"
            )
        if isinstance(self.val_split, str | None):
            return
        self.val_split = check_number(
            "val_split", self.val_split, above=0, below=1, otherwise="the name of a split", remedy=_SHARE
        )
        if self.val_path is not None:
            raise GFTValueError(
                f"`val_split`: expected the name of a split beside val_path, got {self.val_split}, a share "
                "of the rows of `path`; leave one of them out"
            )


def _identity(path: str, name: str | None) -> tuple[str, str | None]:
    """Return a value that is equal for two spellings of a path to the same data."""
    return os.path.realpath(os.path.expanduser(path)), name  # noqa: PTH111 (as rows are loaded)
