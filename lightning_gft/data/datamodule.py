"""From rows to dataloaders: the base of the package's datamodules."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter
from functools import partial
from typing import Any, Literal, cast

from lightning.pytorch import LightningDataModule
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import Dataset, DistributedSampler
from transformers import PreTrainedTokenizerBase

from lightning_gft.checks import check_count, check_kind, check_seed
from lightning_gft.data.collate import collate_examples
from lightning_gft.data.columns import NumberedRows, Row
from lightning_gft.data.errors import naming, remedy_without_rows
from lightning_gft.data.examples import Example, ExampleEncoder
from lightning_gft.data.filters import RowFilter
from lightning_gft.data.further import FurtherResponses
from lightning_gft.data.prompt_loader import PromptLoader
from lightning_gft.data.resumable import ResumableDataLoader
from lightning_gft.errors import GFTRuntimeError, GFTValueError

Split = Literal["train", "val", "test"]

_SPLITS: dict[str | None, tuple[Split, ...]] = {
    "fit": ("train", "val"),
    "validate": ("val",),
    "test": ("test",),
    "predict": ("train",),
    None: ("train", "val", "test"),
}


class PromptDataModule(LightningDataModule, ABC):
    """Base of the datamodules: rows are loaded and tokenised once, in ``setup``, and returned as ``PromptBatch``.

    A subclass implements loading the rows (:meth:`load_rows`) and how to read them (:meth:`make_encoder`).

    The order of training rows depends only on ``seed``, ``seed_everything`` and the epoch. It is the same for any
    number of ranks, which take rows in turn. (If the rows do not divide among the ranks, the first few are trained on
    twice; validation and test count each row once.) A run that stopped in the middle of an epoch resumes there.
    Prediction reads the training prompts in the order of the data.

    Args:
        batch_size: Prompts per step and rank in training and prediction.
        eval_batch_size: Prompts per step and rank in validation and test.
        shuffle: Whether to reshuffle the training rows every epoch.
        seed: Seed of the order, which also depends on ``seed_everything``.
        num_workers: Worker processes per rank that prepare batches; 0 prepares them in the rank itself.
        keep: Filter that selects the training rows to use; ``None`` uses all.

    Raises:
        ValueError: If a batch size is not positive, or the number of workers is negative.
        TypeError: If one of them is not a whole number.

    Attributes:
        tokenizer: Set it to use the datamodule without a trainer; ``None`` takes the LightningModule's.
        examples: Tokenised rows by split and data set.
        prompt_settings: How prompts are written, once the data are set up; see :attr:`PromptEncoder.settings`.
        dropped: Number of prompts and demonstrations that were too long and dropped, as in ``{"train/expert": 3}``.
    """

    def __init__(
        self,
        *,
        batch_size: int,
        eval_batch_size: int,
        shuffle: bool,
        seed: int,
        num_workers: int,
        keep: RowFilter | None = None,
    ) -> None:
        super().__init__()
        self.batch_size = check_count("batch_size", batch_size)
        self.eval_batch_size = check_count("eval_batch_size", eval_batch_size)
        check_kind("shuffle", shuffle, bool, "true")
        self.shuffle = shuffle
        self.seed = check_seed("seed", seed, of=type(self).__name__)
        self.num_workers = check_count("num_workers", num_workers, least=0)
        if keep is not None:
            check_kind("keep", keep, RowFilter, "PassRateFilter('groups')")
        self.keep = keep
        self.tokenizer: PreTrainedTokenizerBase | None = None
        self.examples: dict[Split, dict[str, list[Example]]] = {}
        self.prompt_settings: dict[str, Any] = {}
        self.dropped: dict[str, int] = {}
        self.rejected: dict[str, list[int | str]] = {}  # positions of training rows that ``keep`` rejected
        self._further: FurtherResponses | None = None

    @abstractmethod
    def load_rows(self, split: Split) -> dict[str, list[Row]]:
        """Return the rows of a split by data set, whose name is empty for the main one.

        Errors refer to a row by its position in the list. Return ``NumberedRows`` if its position in the data is
        another one.

        Args:
            split: ``"train"`` has the main data set only; ``"val"`` and ``"test"`` may have several, or none.
        """

    @abstractmethod
    def make_encoder(self, tokenizer: PreTrainedTokenizerBase) -> ExampleEncoder:
        """Return the encoder that turns rows into tokenised examples with the policy's tokenizer."""

    def setup(self, stage: str | None = None) -> None:
        """Load and tokenise the data of a stage.

        Args:
            stage: Lightning's ``"fit"``, ``"validate"``, ``"test"`` or ``"predict"``; ``None`` for all data.

        Raises:
            ValueError: If the stage has no data, a row cannot be used, or a training column has no demonstration.
            TypeError: If a row's prompt or demonstration is of another type.
        """
        encoder = self.make_encoder(self._find_tokenizer())
        self._further, self.prompt_settings = FurtherResponses(encoder), encoder.prompts.settings
        for split in _SPLITS[stage]:
            if split != "train":
                encoder = encoder.without_demonstrations()  # only training reads them
            rows = self.wanted_rows(split)
            if not rows and stage in ("validate", "test"):
                raise GFTValueError(f"{split} data: expected rows, got none; {remedy_without_rows(type(self), split)}")
            self.dropped = {key: count for key, count in self.dropped.items() if key.split("/")[0] != split}
            self.examples[split] = {name: self._encode(encoder, part, split, name) for name, part in rows.items()}

    def train_dataloader(self) -> ResumableDataLoader:
        """Return a dataloader of this rank's training batches."""
        examples = _as_dataset(self._examples_of("train")[""])
        sampler: DistributedSampler[Example] = DistributedSampler(
            examples, shuffle=self.shuffle, seed=self._order_seed(), **self._replica()
        )
        return ResumableDataLoader(
            examples,
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            collate_fn=partial(collate_examples, **self._replica()),
            encoder=self._further,
        )

    def val_dataloader(self) -> list[PromptLoader]:
        """Return a dataloader for each validation data set; an empty list without validation data."""
        return self._ordered_dataloaders("val", self.eval_batch_size)

    def test_dataloader(self) -> list[PromptLoader]:
        """Return a dataloader for each test data set."""
        return self._ordered_dataloaders("test", self.eval_batch_size)

    def predict_dataloader(self) -> list[PromptLoader]:
        """Return a dataloader of the training prompts in the order of the data, to build groups of them."""
        return self._ordered_dataloaders("train", self.batch_size)

    def _ordered_dataloaders(self, split: Split, batch_size: int) -> list[PromptLoader]:
        replica = self._replica()
        for name, examples in self._examples_of(split).items():
            if len(examples) < replica["num_replicas"]:
                raise GFTValueError(
                    f"{data_name(split, name)} data: expected a row for each of {replica['num_replicas']} ranks, got "
                    f"{len(examples)}; add rows, or start fewer ranks"
                )
        # Lightning's own sampler would repeat examples until every rank has as many.
        return [
            PromptLoader(
                _as_dataset(examples),
                sampler=UnrepeatedDistributedSampler(_as_dataset(examples), shuffle=False, **replica),
                batch_size=batch_size,
                num_workers=self.num_workers,
                collate_fn=partial(collate_examples, dataset=name, **replica),
                encoder=self._further,
            )
            for name, examples in self._examples_of(split).items()
        ]

    def wanted_rows(self, split: Split) -> dict[str, list[Row]]:
        """Return the rows of a split by data set; of the training rows, only those that ``keep`` selects.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``, see :meth:`load_rows`.

        Raises:
            ValueError: If ``keep`` selects no row.
        """
        rows = self.load_rows(split)
        if split != "train" or self.keep is None:
            return rows
        with naming("train data"):
            kept = {name: _kept(part, self.keep) for name, part in rows.items()}
        self.rejected = {name: _rejected(part, kept[name]) for name, part in rows.items()}
        return {**kept}

    def check_examples(
        self, split: Split, name: str, encoder: ExampleEncoder, examples: list[Example], dropped: Counter[str]
    ) -> None:
        """Check that a data set can be used, and warn of what is missing in it.

        Args:
            split: Split of the data set.
            name: Name of the data set, which is empty for the main one.
            encoder: Encoder that tokenised it.
            examples: Examples that were not dropped.
            dropped: Number of prompts, and of demonstrations of each role, that were too long and dropped.

        Raises:
            ValueError: If no example is left, or a training column has no demonstration.
        """
        where = data_name(split, name)
        if dropped:
            self.dropped |= {f"{where}/{part}": count for part, count in dropped.items()}
            counts = ", ".join(f"{count} {part}" for part, count in dropped.items())
            number = len(examples) + dropped["prompt"]
            rank_zero_warn(f"{where} data: too long and dropped: {counts} (of {number} rows)")
        with naming(f"{where} data"):
            if not examples:
                limit = encoder.limit_name("prompt")
                raise GFTValueError(f"expected prompts within the limit of {limit}, got none; raise the limit")
            if split == "train":
                self._check_demonstrations(encoder, examples)

    def _encode(self, encoder: ExampleEncoder, rows: list[Row], split: Split, name: str) -> list[Example]:
        with naming(f"{data_name(split, name)} data"):
            if not rows:
                raise GFTValueError("expected rows, got none; give data that has some")
            examples, dropped = encoder.encode(rows)
        self.check_examples(split, name, encoder, examples, dropped)
        return examples

    def _check_demonstrations(self, encoder: ExampleEncoder, examples: list[Example]) -> None:
        """Warn of rows without a demonstration, and raise an error if a column has none at all."""
        gaps, left_out = [], sum((example.left_out for example in examples), Counter[str]())
        for role, column in encoder.columns.demonstration_columns.items():
            missing = [example.row for example in examples if not example.demonstrations[role]]
            if len(missing) == len(examples):
                field, overlong = encoder.columns.field_of(role), self.dropped.get(f"train/{role}", 0)
                raise GFTValueError(
                    f"`{field}`: expected a demonstration in some row of column {column!r}, got none"
                    + (f"; {overlong} are too long (the limit is {encoder.limit_name('response')})" if overlong else "")
                    + f"; correct the data{', raise the limit' if overlong else ''}, or set `{field}: null`"
                )
            if missing:
                count = f"{len(missing)} of {len(examples)}"
                gaps.append(f"{count} rows have no {role} demonstration, the first is row {missing[0]}")
        gaps += [f"{count} {what} were left out" for what, count in left_out.items()]
        if gaps:
            rank_zero_warn(f"train data: {'; '.join(gaps)}")

    def _examples_of(self, split: Split) -> dict[str, list[Example]]:
        if split not in self.examples:
            raise GFTRuntimeError(f"the {split} data: expected `setup` to have loaded them, got none; call it first")
        return self.examples[split]

    def _order_seed(self) -> int:
        """Return the seed of the order, which includes ``seed_everything`` because every rank has the same."""
        return self.seed + int(os.environ.get("PL_GLOBAL_SEED", 0))

    def _replica(self) -> dict[str, Any]:
        # The strategy knows which ranks share their rows; under tensor parallelism, rank and world size do not tell.
        kwargs = None if self.trainer is None else self.trainer.distributed_sampler_kwargs
        return kwargs or {"num_replicas": 1, "rank": 0}

    def _find_tokenizer(self) -> PreTrainedTokenizerBase:
        if self.tokenizer is not None:
            return self.tokenizer
        module = None if self.trainer is None else self.trainer.lightning_module
        tokenizer = getattr(module, "tokenizer", None)
        if tokenizer is None:
            raise GFTRuntimeError(
                "the datamodule: expected a tokenizer, got none; set its `tokenizer`, or use a module that has one"
            )
        return cast("PreTrainedTokenizerBase", tokenizer)


def data_name(split: Split, name: str) -> str:
    """Return the name of a data set in errors.

    Example:
        >>> data_name("val", "easy"), data_name("train", "")
        ('val/easy', 'train')
    """
    return f"{split}/{name}" if name else split


def _kept(rows: list[Row], choice: RowFilter) -> NumberedRows:
    positions = rows.positions if isinstance(rows, NumberedRows) else range(len(rows))
    kept = [place for place, wanted in enumerate(choice.keep(rows)) if wanted]
    return NumberedRows([rows[place] for place in kept], [positions[place] for place in kept])


def _rejected(rows: list[Row], kept: NumberedRows) -> list[int | str]:
    positions = rows.positions if isinstance(rows, NumberedRows) else range(len(rows))
    left = {*kept.positions}
    return [position for position in positions if position not in left]


def _as_dataset(examples: list[Example]) -> Dataset[Example]:
    return cast("Dataset[Example]", examples)  # any sequence is a map-style data set
