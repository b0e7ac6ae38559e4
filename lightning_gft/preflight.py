"""Looking at every row of the data before training, for what would stop the run when its turn comes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from transformers import PreTrainedTokenizerBase

from lightning_gft.data import Example
from lightning_gft.data.datamodule import Split
from lightning_gft.policy import check_window
from lightning_gft.rewards import Reward
from lightning_gft.sampler import GroupSampler
from lightning_gft.sources import DatasetSource, SelfSource


def check_examples(
    examples: Mapping[Split, Mapping[str, Sequence[Example]]],
    sampler: GroupSampler,
    evaluation_tokens: int,
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    """Refuse rows that could not be scored or answered, and sources for which the data has nothing.

    Args:
        examples: Tokenised rows by split and data set.
        sampler: Says what training draws, and scores all rows.
        evaluation_tokens: Longest response that validation and test draw.
        tokenizer: Its ``model_max_length`` is the model's window.

    Raises:
        ValueError: If a row is unfit, with its place; or if a source lacks its demonstrations.
    """
    for split, datasets in examples.items():
        lengths = _drawn_lengths(sampler) if split == "train" else [evaluation_tokens]
        for name, rows in datasets.items():
            where = f"{split}/{name}" if name else split
            if split == "train":
                _check_sources(rows, sampler)
            _check_references(where, rows, sampler.rewards)
            _check_room(where, rows, max(lengths, default=0), tokenizer)


def _drawn_lengths(sampler: GroupSampler) -> list[int]:
    return [source.sampling.max_new_tokens for source in sampler.sources.values() if isinstance(source, SelfSource)]


def _check_sources(rows: Sequence[Example], sampler: GroupSampler) -> None:
    for source in sampler.sources.values():
        if isinstance(source, DatasetSource):
            source.check_roles(rows[0].demonstrations)


def _check_references(where: str, rows: Sequence[Example], rewards: Mapping[str, Reward]) -> None:
    for name, reward in rewards.items():
        for example in rows:
            try:
                reward.check_row(example.reference, example.columns)
            except ValueError as error:
                raise ValueError(
                    f"{where} data, {_place(example)}: reward {name!r} cannot score it: {error}"
                ) from error


def _check_room(where: str, rows: Sequence[Example], max_new_tokens: int, tokenizer: PreTrainedTokenizerBase) -> None:
    longest = max(rows, key=lambda example: len(example.prompt_ids))
    try:
        check_window(tokenizer, len(longest.prompt_ids), max_new_tokens)
    except ValueError as error:
        raise ValueError(f"{where} data, {_place(longest)}: {error}") from error


def _place(example: Example) -> str:
    return f"row {example.row} (counting from 0)"
