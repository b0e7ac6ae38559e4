"""Reads the answers of responses by the rewards that support it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightning_gft.rewards.base import Reward
from lightning_gft.rewards.failures import RewardError, describe
from lightning_gft.rewards.text import shown


def read_answers(
    rewards: Mapping[str, Reward],
    responses: Sequence[str],
    columns: Mapping[str, Sequence[Any]],
    raw_responses: Sequence[str] | None = None,
) -> dict[str, list[str | None]]:
    """Return the answers of ``N`` responses, by the name of each reward that reads answers.

    Args:
        rewards: The rewards by name.
        responses: ``N`` response texts.
        columns: Columns of the data, ``N`` entries each.
        raw_responses: ``N`` response texts with special tokens, for rewards that ask for them.

    Raises:
        RewardError: If a reward fails, with the response that it fails on.

    Example:
        >>> from lightning_gft.rewards import FormatReward, NumericReward
        >>> read_answers({"format": FormatReward(".*"), "number": NumericReward()}, ["It is 0.5.", "No."], {})
        {'number': ['1/2', None]}
    """
    rows = [{name: values[n] for name, values in columns.items()} for n in range(len(responses))]
    return {
        name: [
            _read(name, reward, *of)
            for of in zip(raw_responses if reward.special_tokens and raw_responses else responses, rows, strict=True)
        ]
        for name, reward in rewards.items()
        if reward.reads_answers()
    }


def _read(name: str, reward: Reward, response: str, columns: Mapping[str, Any]) -> str | None:
    try:
        answer: Any = reward.read_answer(response, columns)
    except Exception as error:
        raise _failure(name, reward, describe(error), response) from error
    if answer is not None and not isinstance(answer, str):
        raise _failure(name, reward, f"returned {shown(answer)}, a {type(answer).__name__}", response)
    return answer


def _failure(name: str, reward: Reward, what: str, response: str) -> RewardError:
    return RewardError(
        f"`read_answer` of reward {name!r} ({type(reward).__name__}): expected a text, or None without an answer; it "
        f"{what}; correct it. response: {shown(response)}"
    )
