"""Checks every row of the data before training, so that no row stops the run later."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from inspect import signature
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn
from transformers import PreTrainedTokenizerBase

from lightning_gft.chat import special_tokens
from lightning_gft.data import Columns, Example, PromptDataModule
from lightning_gft.data.datamodule import data_name
from lightning_gft.data.errors import row_name
from lightning_gft.errors import GFTValueError, naming_errors
from lightning_gft.policy import check_window
from lightning_gft.rewards import Reward
from lightning_gft.sampler import GroupSampler, find_unfit, score_demonstrations

_TRIED = 32  # demonstrations to score: enough to tell a mistake from bad luck, even with a slow reward


def check_data(
    data: PromptDataModule,
    samplers: Sequence[GroupSampler],
    evaluation_tokens: int,
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    """Raise an error for rows that cannot be scored or answered, and for sources without data.

    Args:
        samplers: Samplers of the stages in order; they determine the responses of training and score all rows.
        evaluation_tokens: Longest response of validation and test, in tokens.
        tokenizer: The policy's tokenizer, whose ``model_max_length`` is the model's context window.

    Raises:
        ValueError: If a row is unfit, with its number; if a source lacks its demonstrations; or if the data was
            tokenised with another tokenizer.
        RewardError: If a reward fails on demonstrations.
    """
    for fault in find_faults(data, samplers, evaluation_tokens, tokenizer):
        raise fault
    for sampler in _one_of_each_scoring(samplers):
        for rows in data.examples.get("train", {}).values():
            _warn_of_unrewarded_demonstrations(rows, sampler, tokenizer)


def find_faults(
    data: PromptDataModule,
    samplers: Sequence[GroupSampler],
    evaluation_tokens: int,
    tokenizer: PreTrainedTokenizerBase,
) -> Iterator[Exception]:
    """Yield the errors of :func:`check_data` one after another, except rewards that fail on demonstrations.

    Args:
        samplers: As in :func:`check_data`; so are ``evaluation_tokens`` and ``tokenizer``.
    """
    yield from _faulty_settings(data, samplers, tokenizer)
    unfit = _rewards_without_references(data, samplers)
    yield from unfit.values()
    # Stages may share sources.
    named = {id(source): (name, source) for sampler in samplers for name, source in sampler.sources.items()}
    lengths = {f"sources.{name}": source.longest_response() for name, source in named.values()}
    for split, datasets in data.examples.items():
        drawn = lengths if split == "train" else {"evaluation": evaluation_tokens}
        longest = max(drawn, key=drawn.__getitem__)
        for name, rows in datasets.items():
            where = data_name(split, name)
            for _, source in named.values() if split == "train" else ():
                yield from _errors_of(source.check_rows, rows)
                yield from _errors_of(source.check_prompts, rows, tokenizer)
            for sampler in _one_of_each_scoring(samplers):
                rewards = {key: reward for key, reward in sampler.rewards.items() if id(reward) not in unfit}
                yield from _faulty_references(where, rows, rewards)
            yield from _faulty_lengths(where, rows, drawn[longest], tokenizer, f"{longest}.max_new_tokens")


def _faulty_settings(
    data: PromptDataModule, samplers: Sequence[GroupSampler], tokenizer: PreTrainedTokenizerBase
) -> Iterator[Exception]:
    if data.tokenizer is not None and data.tokenizer.get_vocab() != tokenizer.get_vocab():
        yield GFTValueError(
            "`tokenizer` of the datamodule: expected the policy's, got another one; omit it, or set it to that of the "
            "policy"
        )
    for sampler in samplers:
        if sampler.num_groups is not None and sampler.num_groups > data.batch_size:
            yield GFTValueError(
                f"`num_groups`: expected at most the data's batch_size={data.batch_size}, the prompts that a rank may "
                f"try in a step, got {sampler.num_groups}; lower it, or raise batch_size"
            )
    for sampler in _one_of_each_scoring(samplers):
        yield from _faulty_tokens(sampler.rewards, tokenizer)


def _one_of_each_scoring(samplers: Sequence[GroupSampler]) -> list[GroupSampler]:
    """Return one of each samplers that score alike; several stages often share their rewards."""
    alike = {(*map(id, sampler.rewards.values()), id(sampler.total)): sampler for sampler in samplers}
    return list(alike.values())


def _errors_of(check: Callable[..., None], *given: Any) -> Iterator[Exception]:
    try:
        check(*given)
    except ValueError as error:
        yield error


def _faulty_tokens(rewards: Mapping[str, Reward], tokenizer: PreTrainedTokenizerBase) -> Iterator[Exception]:
    """Yield an error for each reward that expects a special token which responses are decoded without."""
    special = special_tokens(tokenizer)
    for name, reward in rewards.items():
        naming = naming_errors(f"rewards.{name}", signature(type(reward)).parameters)
        yield from _errors_of(naming(reward.check_tokens), special)


def _rewards_without_references(data: PromptDataModule, samplers: Sequence[GroupSampler]) -> dict[int, Exception]:
    """Return an error for each reward that needs references of data that name no column of them, by its id."""
    examples = next((rows for datasets in data.examples.values() for rows in datasets.values() if rows), [])
    columns = getattr(data, "columns", None)  # a GroupDataModule's, whose import takes long
    if not (isinstance(columns, Columns) and columns.answer_column is None and examples):
        return {}
    rewards = {id(reward): (name, reward) for sampler in samplers for name, reward in sampler.rewards.items()}
    return {
        key: GFTValueError(
            f"`data.answer_column`: expected a column of references, which reward {name!r} ({type(reward).__name__}) "
            "compares responses with, got null; name it"
        )
        for key, (name, reward) in rewards.items()
        if _lacks_reference(reward, examples[0].columns)
    }


def _lacks_reference(reward: Reward, columns: Mapping[str, Any]) -> bool:
    """Return whether a reward cannot score a row because it has no reference: with one it says something else."""
    without, given = (_fault_of_row(reward, reference, columns) for reference in (None, "1"))
    return without is not None and without != given


def _fault_of_row(reward: Reward, reference: Any, columns: Mapping[str, Any]) -> str | None:
    try:
        reward.check_row(reference, columns)
    except Exception as error:  # noqa: BLE001 (a user's reward may raise any)
        return str(error)
    return None


def _faulty_references(where: str, rows: Sequence[Example], rewards: Mapping[str, Reward]) -> Iterator[Exception]:
    references, columns = [example.reference for example in rows], [example.columns for example in rows]
    for position, message, error in find_unfit(rewards, references, columns):
        yield _with_cause(f"{where} data, {row_name(rows[position].row)}: {message}", error)


def can_score(rewards: Mapping[str, Reward], example: Example) -> bool:
    """Return whether all rewards accept a row; :func:`find_faults` yields the errors of the others."""
    return all(_fault_of_row(reward, example.reference, example.columns) is None for reward in rewards.values())


def _faulty_lengths(
    where: str, rows: Sequence[Example], max_new_tokens: int, tokenizer: PreTrainedTokenizerBase, setting: str
) -> Iterator[Exception]:
    """Yield an error for each prompt that leaves too little room for a response, the longest first."""
    for example in sorted(rows, key=lambda example: -len(example.prompt_ids)):
        try:
            check_window(tokenizer, len(example.prompt_ids), max_new_tokens, setting)
        except ValueError as error:
            yield _with_cause(f"{where} data, {row_name(example.row)}: {error}", error)
        else:
            return


def _with_cause(message: str, error: Exception) -> Exception:
    fault = GFTValueError(message)
    fault.__cause__ = error
    return fault


def _warn_of_unrewarded_demonstrations(
    rows: Sequence[Example], sampler: GroupSampler, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Score the first demonstrations and warn if none is rewarded: the reward probably expects something else."""
    for role in rows[0].demonstrations:
        tried = [(example, answers[0]) for example in rows if (answers := example.demonstrations[role])][:_TRIED]
        if not tried:
            continue
        scored = score_demonstrations(sampler, tried, role, tokenizer)
        if not scored.rewards.any():
            rank_zero_warn(
                f"none of the first {len(tried)} {role} demonstrations gets any reward, for example "
                f"{scored.texts[0]!r} with the reference {tried[0][0].reference!r}: check the rewards' settings (their "
                "marker, for example) and the columns of the data"
            )
