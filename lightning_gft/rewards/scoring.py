"""From several rewards to one number a response; a failure raises and shows the response."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_gft.checks import shorten
from lightning_gft.errors import GFTValueError
from lightning_gft.rewards.base import ResponseFact, Reward
from lightning_gft.rewards.entries import check_entries
from lightning_gft.rewards.failures import RewardError, describe, stops_the_run
from lightning_gft.rewards.isolation import call_reward
from lightning_gft.rewards.text import shown
from lightning_gft.rewards.total import RewardTotal, WeightedSum
from lightning_gft.types import Response, Source

_Batch = dict[str, Sequence[Any]]
_REMEDY = "Correct the reward or the data: a failure is never turned into a score."


def score_responses(
    rewards: Mapping[str, Reward],
    *,
    prompts: Sequence[str],
    responses: Sequence[str],
    references: Sequence[Any],
    columns: Mapping[str, Sequence[Any]],
    raw_responses: Sequence[str] | None = None,
    facts: Mapping[ResponseFact, Sequence[Any]] | None = None,
    total: RewardTotal | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return what responses are worth in all ``[N]``, and each reward unweighted ``[N]`` by its name.

    Each reward is called once, with all ``N`` responses, and not at all where there are none. Only when it raises is it
    called again, one response at a time, to find the one to show. Where a reward gives ``None``, it does not apply to
    the response: it has no part in the sum, and is NaN among the rewards by name.

    Args:
        rewards: The rewards by name.
        prompts: ``N`` prompt texts.
        responses: ``N`` response texts.
        references: ``N`` references.
        columns: Other columns of the data, ``N`` entries each. One named like a keyword of a reward (``prompts``,
            ``responses``, ``references``, or Python's ``self``) is passed over: the keyword's meaning wins.
        raw_responses: ``N`` response texts with special tokens, for rewards that ask for them by
            their attribute ``special_tokens``; ``None`` if there are none.
        facts: What else is known of the responses, from :func:`response_facts`, for rewards that ask for it.
        total: Makes one number of the rewards; default :class:`~lightning_gft.WeightedSum`.

    Raises:
        ValueError: If there is no reward, a column or another argument has not ``N`` entries, or a reward asks for a
            fact that is not given.
        RewardError: If a reward raises or exits, or gives something else than ``N`` finite scores or ``None``; if no
            reward with a weight applies to a response, or the total is not ``N`` finite numbers.

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
        raise GFTValueError("`rewards`: expected at least one reward, got none; give one")
    batch: _Batch = {**columns, "prompts": prompts, "responses": responses, "references": references}
    batch.pop("self", None)
    _check_lengths(batch)
    raw = batch if raw_responses is None else {**batch, "responses": raw_responses}
    _check_lengths(raw)
    parts = {
        name: _score(name, reward, _with_facts(name, reward, raw if reward.special_tokens else batch, facts or {}))
        for name, reward in rewards.items()
    }
    weights = {name: reward.weight for name, reward in rewards.items()}
    _check_some_applies(parts, weights, batch)
    return _total(total or WeightedSum(), parts, weights), parts


def _total(make: RewardTotal, parts: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    expected = len(next(iter(parts.values())))
    total: Any = make({name: part.clone() for name, part in parts.items()}, weights)
    if not (isinstance(total, Tensor) and total.shape == (expected,) and total.isfinite().all()):
        raise RewardError(
            f"`total`: expected {expected} finite numbers of {type(make).__name__}, got {shorten(total)}; return a "
            f"tensor [{expected}]"
        )
    return total.detach().to("cpu", torch.float32)


def _check_some_applies(parts: Mapping[str, Tensor], weights: Mapping[str, float], batch: _Batch) -> None:
    counted = [~parts[name].isnan() for name, weight in weights.items() if weight]
    applies = torch.stack(counted or [torch.ones(len(batch["responses"]), dtype=torch.bool)]).any(dim=0)
    if not applies.all():
        first = int((~applies).nonzero()[0])
        raise RewardError(
            f"no reward applies to a response: {', '.join(weights)} gave None for it, or count nothing. "
            f"{_show(batch, first, ', ')}; give a reward that scores it"
        )


def response_facts(responses: Sequence[Response], sources: Sequence[Source]) -> dict[ResponseFact, list[Any]]:
    """Return what rewards may ask for of ``N`` responses.

    Args:
        responses: As token ids.
        sources: Where each is from.

    Example:
        >>> response_facts([Response([5, 2])], [Source.SELF])
        {'response_tokens': [2], 'response_source': ['self']}
    """
    return {
        "response_tokens": [len(response.token_ids) for response in responses],
        "response_source": [source.name.lower() for source in sources],
    }


def _with_facts(name: str, reward: Reward, batch: _Batch, facts: Mapping[ResponseFact, Sequence[Any]]) -> _Batch:
    if missing := sorted(reward.asks() - facts.keys()):
        raise GFTValueError(
            f"reward {name!r}: expected {', '.join(missing)} of the responses, got none; give `facts`, as "
            "response_facts makes them"
        )
    known: _Batch = {**batch}
    known.update((fact, facts[fact]) for fact in reward.asks())
    _check_lengths(known)
    return known


def _check_lengths(batch: _Batch) -> None:
    expected = len(batch["responses"])
    for name, values in batch.items():
        if len(values) != expected:
            raise GFTValueError(
                f"{name} has {len(values)} entries for {expected} responses; give one for each response"
            )


def _score(name: str, reward: Reward, batch: _Batch) -> Tensor:
    if not len(batch["responses"]):
        return torch.zeros(0)
    title = f"reward {name!r} ({type(reward).__name__})"
    try:
        scores = call_reward(title, reward, batch)
    except BaseException as error:
        if stops_the_run(error):
            raise
        raise RewardError(f"{title} {describe(error)}\n{_show_culprit(title, reward, batch)}") from error
    return _check_scores(title, scores, batch)


def _check_scores(title: str, scores: Any, batch: _Batch) -> Tensor:
    """Return the scores as float32 on the CPU, NaN where the reward does not apply."""
    expected = len(batch["responses"])
    try:
        scores = check_entries(scores, expected)
    except RewardError as error:
        raise RewardError(f"{title} {error}") from None
    if isinstance(scores, Tensor):
        shape = list(scores.shape)
        values, applies = scores.detach().to("cpu", torch.float32).flatten(), torch.tensor(True)
    else:
        shape = [len(scores)]
        values = torch.tensor([math.nan if score is None else float(score) for score in scores], dtype=torch.float32)
        applies = torch.tensor([score is not None for score in scores])
    if shape != [expected]:
        raise RewardError(
            f"{title} returned shape {shape}, expected [{expected}]; return one score for each response, in their order"
        )
    invalid = (~values.isfinite() & applies).nonzero().flatten().tolist()
    if invalid:
        raise RewardError(
            f"{title} returned {values[invalid[0]].item()}; {len(invalid)} of {expected} scores are not finite, "
            f"the first for:\n{_show(batch, invalid[0])}\nReturn a finite number, or None where the reward does not "
            "apply, or raise where there is no score."
        )
    return values


def _show_culprit(title: str, reward: Reward, batch: _Batch) -> str:
    for index in range(len(batch["responses"])):
        if _fails(title, reward, {name: [values[index]] for name, values in batch.items()}):
            return f"The first that fails by itself (index {index} of the batch):\n{_show(batch, index)}\n{_REMEDY}"
    return f"No response fails by itself, only the whole batch, whose first is:\n{_show(batch, 0)}\n{_REMEDY}"


def _fails(title: str, reward: Reward, single: _Batch) -> bool:
    try:
        call_reward(title, reward, single)
    except BaseException as error:
        if stops_the_run(error):
            raise
        return True
    return False


def _show(batch: _Batch, index: int, separator: str = "\n") -> str:
    indent = "  " if separator == "\n" else ""
    fields = ("prompt", "response", "reference")
    return separator.join(f"{indent}{field}: {shown(batch[f'{field}s'][index])}" for field in fields)
