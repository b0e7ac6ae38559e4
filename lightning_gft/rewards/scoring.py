"""From several rewards to one number a response, with every failure told."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_gft.rewards.base import Reward
from lightning_gft.rewards.text import shorten

_PACKAGE = Path(__file__).parents[1]
_Batch = dict[str, Sequence[Any]]
_REMEDY = "Correct the reward or the data: a failure is never turned into a score."


class RewardError(RuntimeError):
    """A reward failed, or gave something that is no score.

    Example:
        >>> from lightning_gft.rewards import NumericReward, score_responses
        >>> rewards = {"accuracy": NumericReward()}
        >>> score_responses(rewards, prompts=["1+1="], responses=["2"], references=["two"], columns={})
        Traceback (most recent call last):
        lightning_gft.rewards.scoring.RewardError: reward 'accuracy' (NumericReward) raised ValueError: ...
    """


def score_responses(
    rewards: Mapping[str, Reward],
    *,
    prompts: Sequence[str],
    responses: Sequence[str],
    references: Sequence[Any],
    columns: Mapping[str, Sequence[Any]],
    raw_responses: Sequence[str] | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the weighted sum of all rewards ``[N]``, and each reward unweighted ``[N]`` by its name.

    Each reward is called once, with all ``N`` responses, and not at all where there are none. Only when it raises is it
    called again, one response at a time, to find the one to show.

    Args:
        rewards: The rewards by name.
        prompts: ``N`` prompt texts.
        responses: ``N`` response texts.
        references: ``N`` references.
        columns: Other columns of the data, ``N`` entries each. One named like a keyword of a reward (``prompts``,
            ``responses``, ``references``, or Python's ``self``) is passed over: the keyword's meaning wins.
        raw_responses: ``N`` response texts with special tokens, for rewards that ask for them by
            :attr:`Reward.keeps_special_tokens`; ``None`` if there are none.

    Raises:
        ValueError: If there is no reward, or a column or another argument has not ``N`` entries.
        RewardError: If a reward raises, or gives something else than ``N`` finite scores.

    Example:
        >>> from lightning_gft.rewards import FormatReward, NumericReward
        >>> rewards = {"accuracy": NumericReward(), "brief": FormatReward(".{,10}", weight=0.5)}
        >>> total, parts = score_responses(
        ...     rewards, prompts=["1+1="] * 2, responses=["2", "one"], references=["2"] * 2, columns={}
        ... )
        >>> total, parts["accuracy"]
        (tensor([1.5000, 0.5000]), tensor([1., 0.]))
    """
    if not rewards:
        raise ValueError("rewards is empty, so no response can be told from another; give at least one reward")
    batch: _Batch = {**columns, "prompts": prompts, "responses": responses, "references": references}
    batch.pop("self", None)
    _check_lengths(batch)
    # Copies, because a reward that sorts or strips a list in place would give the next one other responses.
    raw = batch if raw_responses is None else {**batch, "responses": raw_responses}
    _check_lengths(raw)
    parts = {
        name: _score(name, reward, {k: list(v) for k, v in (raw if reward.keeps_special_tokens else batch).items()})
        for name, reward in rewards.items()
    }
    total = torch.zeros(len(responses), dtype=torch.float32)
    for name, reward in rewards.items():
        total += reward.weight * parts[name]
    return total, parts


def _check_lengths(batch: _Batch) -> None:
    expected = len(batch["responses"])
    for name, values in batch.items():
        if len(values) != expected:
            raise ValueError(f"{name} has {len(values)} entries for {expected} responses; give one for each response")


def _score(name: str, reward: Reward, batch: _Batch) -> Tensor:
    expected = len(batch["responses"])
    if not expected:
        return torch.zeros(0)
    title = f"reward {name!r} ({type(reward).__name__})"
    try:
        scores = reward(**batch)
    except Exception as error:
        raise RewardError(
            f"{title} raised {type(error).__name__}{_place(error)}: {error}\n{_show_culprit(reward, batch)}"
        ) from error
    return _check_scores(title, scores, batch)


def _check_scores(title: str, scores: Tensor, batch: _Batch) -> Tensor:
    expected = len(batch["responses"])
    if not isinstance(scores, Tensor):
        raise RewardError(
            f"{title} returned {shorten(scores)}, a {type(scores).__name__}; return a tensor [{expected}]"
        )
    if scores.shape != (expected,):
        raise RewardError(
            f"{title} returned shape {list(scores.shape)}, expected [{expected}]; "
            "return one score for each response, in their order"
        )
    scores = scores.detach().to("cpu", torch.float32)
    invalid = (~scores.isfinite()).nonzero().flatten().tolist()
    if invalid:
        raise RewardError(
            f"{title} returned {scores[invalid[0]].item()}; {len(invalid)} of {expected} scores are not finite, "
            f"the first for:\n{_show(batch, invalid[0])}\nReturn a finite number, or raise where there is no score."
        )
    return scores


def _place(error: Exception) -> str:
    """Say where a function of the user's failed; what this package raises says it in words."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return "" if Path(last.filename).is_relative_to(_PACKAGE) else f" in {last.name}, {last.filename}:{last.lineno}"


def _show_culprit(reward: Reward, batch: _Batch) -> str:
    for index in range(len(batch["responses"])):
        if _fails(reward, batch, index):
            return f"The first that fails by itself (index {index} of the batch):\n{_show(batch, index)}\n{_REMEDY}"
    return f"No response fails by itself, only the whole batch, whose first is:\n{_show(batch, 0)}\n{_REMEDY}"


def _fails(reward: Reward, batch: _Batch, index: int) -> bool:
    single: _Batch = {name: [values[index]] for name, values in batch.items()}
    try:
        reward(**single)
    except Exception:  # noqa: BLE001 -- that it fails is the answer; the error itself is already being raised
        return True
    return False


def _show(batch: _Batch, index: int) -> str:
    shown = ("prompt", "response", "reference")
    return "\n".join(f"  {field}: {shorten(batch[f'{field}s'][index])}" for field in shown)
