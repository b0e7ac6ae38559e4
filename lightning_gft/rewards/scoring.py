"""Scores responses with several rewards and combines them; a failure raises an error that shows the response."""

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
    """Return the total rewards of responses ``[N]``, and each reward's unweighted scores ``[N]`` by its name.

    Each reward is called once, with all ``N`` responses, and not at all without responses. If it raises, it is called
    again for one response at a time, to find the one to show. ``None`` means that a reward does not apply to a
    response: it does not enter the total, and is NaN among the scores by name.

    Args:
        rewards: The rewards by name.
        prompts: ``N`` prompt texts.
        responses: ``N`` response texts.
        references: ``N`` references.
        columns: Other columns of the data, ``N`` entries each. A column named like a keyword of a reward (``prompts``,
            ``responses``, ``references``, or Python's ``self``) is skipped: the keyword takes precedence.
        raw_responses: ``N`` response texts with special tokens, for rewards whose attribute ``special_tokens`` asks for
            them; ``None`` if there are none.
        facts: Further facts about the responses, from :func:`response_facts`, for rewards that ask for them.
        total: Combines the rewards into one number; default :class:`~lightning_gft.WeightedSum`.

    Raises:
        ValueError: If there is no reward, if a column or another argument does not have ``N`` entries, or if a reward
            asks for a fact that is missing.
        RewardError: If a reward raises or exits, or returns anything but ``N`` finite scores or ``None``; if no reward
            with a weight applies to a response; or if the total is not ``N`` finite numbers.
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
            f"`rewards`: expected one with a weight that applies to each response, got None or no weight from "
            f"{', '.join(weights)}. {_show(batch, first, ', ')}; give a reward that scores it"
        )


def response_facts(
    responses: Sequence[Response], sources: Sequence[Source], limit: int = 0
) -> dict[ResponseFact, list[Any]]:
    """Return the facts about ``N`` responses that rewards may ask for.

    Args:
        responses: Responses with their token ids.
        sources: Source of each response.
        limit: Length limit of sampled responses, in tokens; 0 if nothing samples, which is no fact.

    Example:
        >>> response_facts([Response([5, 2])], [Source.SELF], limit=48)
        {'response_tokens': [2], 'response_source': ['self'], 'response_limit': [48]}
    """
    facts: dict[ResponseFact, list[Any]] = {
        "response_tokens": [len(response.token_ids) for response in responses],
        "response_source": [source.name.lower() for source in sources],
    }
    return {**facts, "response_limit": [limit] * len(responses)} if limit else facts


def _with_facts(name: str, reward: Reward, batch: _Batch, facts: Mapping[ResponseFact, Sequence[Any]]) -> _Batch:
    if missing := sorted(reward.needs() - facts.keys()):
        raise GFTValueError(
            f"reward {name!r}: expected {', '.join(missing)} of the responses, got none; give `facts`, as "
            "response_facts makes them"
        )
    known: _Batch = {**batch}
    known.update((fact, facts[fact]) for fact in reward.needs())
    _check_lengths(known)
    return known


def _check_lengths(batch: _Batch) -> None:
    expected = len(batch["responses"])
    for name, values in batch.items():
        if len(values) != expected:
            raise GFTValueError(
                f"`{name}`: expected {expected} entries, one for each response, got {len(values)}; correct it"
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
    """Return the scores as float32 on the CPU, with NaN where the reward does not apply."""
    expected = len(batch["responses"])
    try:
        scores = check_entries(scores, expected)
    except RewardError as error:
        raise RewardError(f"{title} {error}") from None
    if isinstance(scores, Tensor):
        shape, given = list(scores.shape), scores.flatten()
        values, applies = scores.detach().to("cpu", torch.float32).flatten(), torch.tensor(True)
    else:
        shape, given = [len(scores)], scores
        values = torch.tensor([math.nan if score is None else float(score) for score in scores], dtype=torch.float32)
        applies = torch.tensor([score is not None for score in scores])
    if shape != [expected]:
        raise RewardError(
            f"{title} returned shape {shape}, expected [{expected}]; return one score for each response, in their order"
        )
    invalid = (~values.isfinite() & applies).nonzero().flatten().tolist()
    if invalid:
        first = float(given[invalid[0]])
        kind = "beyond float32, about 3.4e38 in size" if math.isfinite(first) else "not finite"
        raise RewardError(
            f"{title} returned {first}; {len(invalid)} of {expected} scores are {kind}, the first for:\n"
            f"{_show(batch, invalid[0])}\nReturn a finite number, or None if the reward does not apply, or raise an "
            "error if there is no score."
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
