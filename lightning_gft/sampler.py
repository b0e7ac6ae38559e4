"""The group sampler: prompts -> group -> rewards -> advantages."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self, cast

import torch
from torch import Tensor

from lightning_gft.advantages import AdvantageEstimator, GroupNormalizedAdvantage
from lightning_gft.checks import check_kind, shorten
from lightning_gft.errors import GFTTypeError, GFTValueError
from lightning_gft.rewards import Reward, as_rewards, score_responses
from lightning_gft.seeds import spawn_seeds
from lightning_gft.sources import ResponseSource
from lightning_gft.types import GroupBatch, PromptBatch, Response, ResponseGenerator, Source


class GroupSampler:
    """Builds a group of responses for each prompt, scores all of them alike and compares them within the group.

    Args:
        sources: Where responses come from, by names of your choice.
        rewards: What a response is worth, by names that become log keys; their weighted sum counts. A plain function
            will do as well, see :class:`~lightning_gft.FunctionReward`.
        advantage: Turns rewards into advantages; default :class:`~lightning_gft.GroupNormalizedAdvantage`.

    Raises:
        ValueError: If there is no source or no reward.
        TypeError: If they are something else.

    Example:
        >>> from lightning_gft import ExactMatchReward, ExpertSource, SelfSource
        >>> sampler = GroupSampler(
        ...     sources={"expert": ExpertSource(), "self": SelfSource(num_generations=7)},
        ...     rewards={"accuracy": ExactMatchReward()},
        ... )
        >>> sampler.group_size
        8
    """

    def __init__(
        self,
        sources: dict[str, ResponseSource],
        rewards: dict[str, Reward],
        advantage: AdvantageEstimator | None = None,
    ) -> None:
        self._take(sources, rewards, advantage)

    def with_parts(
        self,
        sources: dict[str, ResponseSource] | None = None,
        rewards: dict[str, Reward] | None = None,
        advantage: AdvantageEstimator | None = None,
    ) -> Self:
        """Return a sampler that is like this one but for the parts that are given."""
        other = copy.copy(self)
        other._take(
            self.sources if sources is None else sources,
            self.rewards if rewards is None else rewards,
            self.advantage if advantage is None else advantage,
        )
        return other

    def _take(self, sources: Any, rewards: Any, advantage: Any) -> None:
        _check_named("sources", sources, ResponseSource, "ExpertSource or SelfSource")
        if isinstance(rewards, Mapping):
            rewards = as_rewards(rewards)
        _check_named("rewards", rewards, Reward, "NumericReward() or ExactMatchReward()")
        if all(reward.weight == 0 for reward in rewards.values()):
            raise GFTValueError("`rewards`: expected one with a weight, got weight=0 for all; give one a weight")
        self.sources: dict[str, ResponseSource] = sources
        self.rewards: dict[str, Reward] = rewards
        self.advantage: AdvantageEstimator = advantage or GroupNormalizedAdvantage()
        check_kind("advantage", self.advantage, AdvantageEstimator, "GroupNormalizedAdvantage()")

    @property
    def group_size(self) -> int:
        """Responses that a prompt gets where no demonstration is missing."""
        return sum(source.num_responses for source in self.sources.values())

    def draws(self) -> bool:
        """Return whether a source may ask the policy for responses."""
        return any(source.draws() for source in self.sources.values())

    def sample(self, prompts: PromptBatch, policy: ResponseGenerator, seed: int) -> GroupBatch:
        """Return the scored groups of ``P`` prompts, one after the other.

        Args:
            prompts: The prompts.
            policy: Draws its own responses and decodes all of them.
            seed: The same seed, policy and prompts give the same groups.

        Returns:
            The groups; a prompt that no source gives a response to has none.

        Raises:
            ValueError: If a source lacks what it needs of the data.
            RewardError: If a reward fails.
        """
        rows = self._gather(prompts, policy, seed)
        texts = [policy.decode(row.response.token_ids) for row in rows]
        raw_texts = None
        if any(reward.special_tokens for reward in self.rewards.values()):
            raw_texts = [policy.decode(row.response.token_ids, skip_special_tokens=False) for row in rows]
        of_row = [row.prompt for row in rows]
        rewards, parts = score_responses(
            self.rewards,
            prompts=[prompts.prompts[i] for i in of_row],
            responses=texts,
            references=[prompts.references[i] for i in of_row],
            columns={name: [values[i] for i in of_row] for name, values in prompts.columns.items()},
            raw_responses=raw_texts,
        )
        device = policy.device
        group_index = torch.tensor(of_row, dtype=torch.long, device=device)
        source = torch.tensor([row.source for row in rows], dtype=torch.long, device=device)
        groups = GroupBatch(
            **_pad(rows, prompts, policy.pad_token_id, device),
            group_index=group_index,
            source=source,
            rewards=rewards.to(device),
            advantages=torch.full_like(rewards, torch.nan, device=device),
            finished=torch.tensor([row.response.finished for row in rows], dtype=torch.bool, device=device),
            reward_parts={name: part.to(device) for name, part in parts.items()},
            prompts=[prompts.prompts[i] for i in of_row],
            responses=texts,
        )
        return replace(groups, advantages=_checked_advantages(self.advantage, groups))

    def _gather(self, prompts: PromptBatch, policy: ResponseGenerator, seed: int) -> list[_Row]:
        groups: list[list[_Row]] = [[] for _ in prompts.prompt_ids]
        seeds = spawn_seeds(seed, len(self.sources))
        for (name, source), source_seed in zip(self.sources.items(), seeds, strict=True):
            given = source.respond(prompts, policy, source_seed)
            _check_given(f"sources[{name!r}]", source.num_responses, given, len(prompts))
            for i, responses in enumerate(given):
                groups[i].extend(_Row(i, source.source, response) for response in responses if response.token_ids)
        return [row for group in groups for row in group]


def _check_named(field: str, parts: Any, kind: type, examples: str) -> None:
    if not isinstance(parts, Mapping):
        raise GFTTypeError(
            f"`{field}`: expected a dict by names of your choice, got a {type(parts).__name__}; give one of {examples}"
        )
    if not parts:
        raise GFTValueError(f"`{field}`: expected at least one, got none; give one such as {examples}")
    for name, part in parts.items():
        check_kind(f"{field}[{name!r}]", part, kind, examples)


def _checked_advantages(estimator: AdvantageEstimator, groups: GroupBatch) -> Tensor:
    """Return advantages ``[N]``, or refuse others: one that is not finite would spoil every later update."""
    advantages: Any = estimator(groups)
    is_right = isinstance(advantages, Tensor) and advantages.shape == groups.rewards.shape
    if not (is_right and advantages.isfinite().all()):
        raise GFTValueError(
            f"`advantage`: expected {len(groups)} finite advantages of {type(estimator).__name__}, got "
            f"{shorten(advantages)}; return a tensor [{len(groups)}]"
        )
    return cast(Tensor, advantages)


def _check_given(where: str, most: int, given: Any, num_prompts: int) -> None:
    """Refuse what is not at most ``most`` responses for each prompt, each with a log-probability a token or none."""
    if not isinstance(given, list) or len(given) != num_prompts or not all(isinstance(each, list) for each in given):
        raise GFTValueError(
            f"`{where}`: expected a list of responses for each of {num_prompts} prompts, got {shorten(given)}; return "
            "an empty list for a prompt without any"
        )
    for responses in given:
        if len(responses) > most:
            raise GFTValueError(
                f"`{where}`: expected at most {most} responses a prompt, got {len(responses)}; raise its num_responses"
            )
        for response in responses:
            _check_response(where, response)


def _check_response(where: str, response: Any) -> None:
    check_kind(where, response, Response, "Response(policy.encode(text))")
    if not all(isinstance(token, int) and token >= 0 for token in response.token_ids):
        raise GFTValueError(f"`{where}`: expected token ids, got {shorten(response.token_ids)}; use policy.encode")
    for field in ("logprobs", "teacher_logprobs"):
        values = getattr(response, field)
        if values is not None and len(values) != len(response.token_ids):
            raise GFTValueError(
                f"`{where}`: expected {field} of {len(response.token_ids)} tokens, got {len(values)}; give one a token"
            )


@dataclass(frozen=True)
class _Row:
    prompt: int
    source: Source
    response: Response


def _pad(rows: list[_Row], prompts: PromptBatch, pad_token_id: int, device: torch.device) -> dict[str, Any]:
    """Return the ``[N, T]`` tensors, right-padded; masks go by length, so any padding id will do."""
    prompt_lengths = [len(prompts.prompt_ids[row.prompt]) for row in rows]
    lengths = [prompt + len(row.response.token_ids) for prompt, row in zip(prompt_lengths, rows, strict=True)]
    shape = len(rows), max(lengths, default=1)
    input_ids = torch.full(shape, pad_token_id)
    logprobs, teacher = torch.zeros(shape), torch.zeros(shape)
    for n, (row, start, stop) in enumerate(zip(rows, prompt_lengths, lengths, strict=True)):
        input_ids[n, :stop] = torch.tensor([*prompts.prompt_ids[row.prompt], *row.response.token_ids])
        if row.response.logprobs is not None:
            logprobs[n, start:stop] = torch.tensor(row.response.logprobs)
        if row.response.teacher_logprobs is not None:
            teacher[n, start:stop] = torch.tensor(row.response.teacher_logprobs)
    attention_mask = _below(lengths, shape[1])
    taught = all(row.response.teacher_logprobs is not None for row in rows)
    return {
        "input_ids": input_ids.to(device),
        "attention_mask": attention_mask.to(device),
        "response_mask": (attention_mask & ~_below(prompt_lengths, shape[1])).to(device),
        "sampling_logprobs": logprobs.to(device),
        "teacher_logprobs": teacher.to(device) if taught else None,
    }


def _below(lengths: list[int], width: int) -> Tensor:
    return torch.arange(width) < torch.tensor(lengths, dtype=torch.long).unsqueeze(1)
