"""The group sampler: prompts -> group -> rewards -> advantages."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from inspect import signature
from typing import Any, Self

from lightning_gft.advantages import AdvantageEstimator, GroupNormalizedAdvantage
from lightning_gft.checks import check_count, check_kind
from lightning_gft.errors import GFTTypeError, GFTValueError, naming_errors
from lightning_gft.parts import Part
from lightning_gft.phases import phase
from lightning_gft.rewards import Reward, RewardTotal, WeightedSum, as_rewards, response_facts, score_responses
from lightning_gft.rewards.answers import read_answers
from lightning_gft.sampler.grouping import build_groups
from lightning_gft.sampler.rounds import Round, Row, size_of_round
from lightning_gft.seeds import spawn_seeds
from lightning_gft.sources import ResponseSource, check_given
from lightning_gft.types import GroupBatch, Need, PromptBatch, ResponseGenerator
from lightning_gft.waiting import all_drawn

SampleFn = Callable[[PromptBatch, ResponseGenerator, int], GroupBatch]
"""A function that returns scored groups from prompts, a policy and a seed."""


class GroupSampler:
    """Builds a group of responses for each prompt, scores them by the same rewards and compares them within the group.

    Args:
        sources: Sources of responses, by names of your choice.
        rewards: Rewards that score each response, by names that become log keys. A plain function is accepted, too, see
            :class:`~lightning_gft.FunctionReward`.
        advantage: Computes advantages from rewards; default :class:`~lightning_gft.GroupNormalizedAdvantage`.
        num_groups: DAPO's dynamic sampling (arXiv 2503.14476): each rank samples prompts of its batch until this many
            groups have rewards that differ. It trains on no other groups and on no demonstrations of them. The
            datamodule's ``batch_size`` limits the number of prompts that are sampled. ``None`` samples all of them.
        total: Combines the rewards of a response into one number; default :class:`~lightning_gft.WeightedSum`.

    Raises:
        ValueError: If there is no source or no reward, if all rewards have weight 0, if ``num_groups`` is below 1, or
            if ``total`` names a missing reward.
        TypeError: If an argument has another type.

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
        num_groups: int | None = None,
        total: RewardTotal | None = None,
    ) -> None:
        self._take(sources, rewards, advantage, num_groups, total)

    def with_parts(
        self,
        sources: dict[str, ResponseSource] | None = None,
        rewards: dict[str, Reward] | None = None,
        advantage: AdvantageEstimator | None = None,
        num_groups: int | None = None,
        total: RewardTotal | None = None,
    ) -> Self:
        """Return a sampler with the given parts and ``num_groups``; parts that are ``None`` are taken from this one."""
        other = copy.copy(self)
        other._take(
            self.sources if sources is None else sources,
            self.rewards if rewards is None else rewards,
            self.advantage if advantage is None else advantage,
            num_groups,
            self.total if total is None else total,
        )
        return other

    def _take(self, sources: Any, rewards: Any, advantage: Any, num_groups: Any, total: Any) -> None:
        _check_named("sources", sources, ResponseSource, "ExpertSource or SelfSource")
        if isinstance(rewards, Mapping):
            rewards = as_rewards(rewards)
        _check_named("rewards", rewards, Reward, "NumericReward() or ExactMatchReward()")
        if all(reward.weight == 0 for reward in rewards.values()):
            raise GFTValueError("`rewards`: expected one with a weight, got weight=0 for all; set the weight of one")
        self.sources: dict[str, ResponseSource] = sources
        self.rewards: dict[str, Reward] = rewards
        self.advantage: AdvantageEstimator = advantage or GroupNormalizedAdvantage()
        check_kind("advantage", self.advantage, AdvantageEstimator, "GroupNormalizedAdvantage()")
        self.advantage.check_rewards(self.rewards)
        for name, source in self.sources.items():
            with naming_errors(f"sources.{name}", signature(type(source)).parameters):
                source.check_rewards(self.rewards)
        self.total: RewardTotal = total or WeightedSum()
        check_kind("total", self.total, RewardTotal, "WeightedSum()")
        self.total.check_rewards(self.rewards)
        if num_groups is not None:
            num_groups = check_count("num_groups", num_groups, otherwise="null to sample all prompts")
        self.num_groups: int | None = num_groups

    @property
    def group_size(self) -> int:
        """Number of responses per prompt if no demonstration is missing."""
        return sum(source.num_responses for source in self.sources.values())

    def longest_response(self) -> int:
        """Return the largest length limit of the sources that sample, in tokens; 0 if none samples."""
        return max(source.longest_response() for source in self.sources.values())

    def draws(self) -> bool:
        """Return whether a source may sample from the policy."""
        return any(source.draws() for source in self.sources.values())

    def prepare(self, prompts: PromptBatch, policy: ResponseGenerator, seed: int, later: int = 0) -> None:
        """Pass prompts to the sources that look far enough ahead; see :meth:`ResponseSource.prepare`.

        Args:
            prompts: Prompts of a batch.
            policy: The policy, see :meth:`sample`.
            seed: The seed that :meth:`sample` will receive for this batch.
            later: Number of batches that are sampled before this one.
        """
        certain = prompts[: self.num_groups]  # dynamic sampling is only certain to sample its first round
        for source, source_seed in zip(self.sources.values(), spawn_seeds(seed, len(self.sources)), strict=True):
            if later <= source.looks_ahead():
                source.prepare(certain, policy, source_seed)

    def looks_ahead(self) -> int:
        """Return the largest number of later batches that a source prepares for."""
        return max(source.looks_ahead() for source in self.sources.values())

    def memory(self) -> dict[str, Mapping[str, Any]]:
        """Return the state of sources, by name, from which a resumed run gets the same responses; call on all ranks."""
        return {name: source.memory() for name, source in self.sources.items() if source.draws_ahead()}

    def recall(self, memories: Sequence[Mapping[str, Mapping[str, Any]]]) -> None:
        """Restore the states that :meth:`memory` returned on each rank of the earlier run."""
        for name, source in self.sources.items():
            source.recall([memory[name] for memory in memories if name in memory])

    def gives(self) -> frozenset[Need]:
        """Return the further fields that responses of any source carry, such as ``"teacher_logprobs"``."""
        return frozenset[Need]().union(*(source.gives() for source in self.sources.values()))

    def sample(self, prompts: PromptBatch, policy: ResponseGenerator, seed: int) -> GroupBatch:
        """Return the scored groups of ``P`` prompts, in the order of the prompts.

        Args:
            prompts: ``P`` prompts with references, demonstrations and further columns of the data.
            policy: Generates own samples, and decodes all responses.
            seed: Seed of all random choices: the same seed, policy and prompts give the same groups.

        Returns:
            The groups. A prompt without a response from any source has no group.

        Raises:
            ValueError: If the data lack a column that a source reads.
            RewardError: If a reward fails.
        """
        return self._build([self._draw(prompts, policy, seed)], prompts, policy)

    def sample_for_training(self, prompts: PromptBatch, policy: ResponseGenerator, seed: int) -> GroupBatch:
        """Return scored groups from dynamic sampling: until ``num_groups`` groups have rewards that differ.

        Prompts are sampled in rounds. The first round has ``num_groups`` prompts; each later one has as many as should
        yield the missing groups at the share that differed so far. Responses are the same as those of :meth:`sample`.
        All groups with differing rewards are trained on, whether there are more than ``num_groups`` or fewer. The other
        groups are excluded. Advantages are estimated in one call over all groups. Without ``num_groups`` this is
        :meth:`sample`.

        Args:
            prompts: Prompts of a batch, which limit how many are sampled.
            policy: The policy, see :meth:`sample`.
            seed: Seed of all random choices, see :meth:`sample`.

        Raises:
            ValueError: If the data lack a column that a source reads.
            RewardError: If a reward fails.
            RunStoppedError: If the run was asked to stop before all ranks had their responses.
        """
        if self.num_groups is None:
            return self.sample(prompts, policy, seed)
        return self._sample_differing(self.num_groups, prompts, policy, seed)

    def _sample_differing(self, wanted: int, prompts: PromptBatch, policy: ResponseGenerator, seed: int) -> GroupBatch:
        rounds: list[Round] = []
        differing: set[int] = set()
        tried = 0
        while tried < len(prompts) and (missing := wanted - len(differing)) > 0:
            chosen = prompts[tried : tried + size_of_round(missing, tried, len(differing))]
            rounds.append(self._draw(chosen, policy, seed, first=tried))
            differing |= rounds[-1].differing()
            tried += len(chosen)
        return self._build(rounds, prompts, policy, differing, tried)

    def scorers(self) -> dict[str, Part]:
        """Return the parts that score and compare responses, by the prefix of their figures' names."""
        rewards = {f"rewards/{name}": reward for name, reward in self.rewards.items()}
        return {**rewards, "total": self.total, "advantage": self.advantage}

    def reads_special_tokens(self) -> bool:
        """Return whether a reward reads texts with special tokens, so that :meth:`score` needs ``raw_texts``."""
        return any(reward.special_tokens for reward in self.rewards.values())

    def score(
        self, prompts: PromptBatch, rows: Sequence[Row], texts: Sequence[str], raw_texts: Sequence[str] | None = None
    ) -> Round:
        """Return responses with their rewards; every use of a sampler's rewards goes through this method.

        Args:
            prompts: Prompts that the responses answer.
            rows: ``N`` responses from any source.
            texts: ``N`` texts without special tokens.
            raw_texts: ``N`` texts with special tokens, except for end tokens; see :meth:`reads_special_tokens`.

        Raises:
            RewardError: If a reward fails.
        """
        of_row = [row.prompt for row in rows]
        columns = {name: [values[i] for i in of_row] for name, values in prompts.columns.items()}
        limit = self.longest_response()
        facts = response_facts([row.response for row in rows], [row.source for row in rows], limit)
        with phase("reward") as scoring:
            rewards, parts = score_responses(
                self.rewards,
                prompts=[prompts.prompts[i] for i in of_row],
                responses=texts,
                references=[prompts.references[i] for i in of_row],
                columns=columns,
                raw_responses=raw_texts,
                facts=facts,
                total=self.total,
            )
            answers = read_answers(self.rewards, texts, columns, raw_texts)
        return Round([*rows], [*texts], rewards, parts, answers, scoring_seconds=scoring.seconds)

    def _draw(self, prompts: PromptBatch, policy: ResponseGenerator, seed: int, first: int = 0) -> Round:
        """Return scored responses to some prompts; ``first`` is the index of the first prompt in the batch."""
        with phase("rollout") as drawing:
            rows = self._gather(prompts, policy, seed)
        token_ids = [row.response.token_ids for row in rows]
        raw_texts = None
        if self.reads_special_tokens():
            raw_texts = [policy.decode(ids, skip_special_tokens=False) for ids in token_ids]
        scored = self.score(prompts, rows, [policy.decode(ids) for ids in token_ids], raw_texts)
        scored = scored.chosen(self.sources, seed, prompts.places or range(len(prompts)))
        in_batch = [replace(row, prompt=first + row.prompt) for row in scored.rows]
        return replace(scored, rows=in_batch, sampling_seconds=drawing.seconds)

    def _build(
        self,
        rounds: list[Round],
        prompts: PromptBatch,
        policy: ResponseGenerator,
        differing: set[int] | None = None,
        tried: int | None = None,
    ) -> GroupBatch:
        all_drawn()  # before an estimator compares rewards over ranks
        taught = "teacher_logprobs" in self.gives()
        groups = build_groups(
            self.advantage, rounds, prompts, policy.pad_token_id, policy.device, taught, differing, tried
        )
        return replace(groups, longest_response=self.longest_response())

    def _gather(self, prompts: PromptBatch, policy: ResponseGenerator, seed: int) -> list[Row]:
        groups: list[list[Row]] = [[] for _ in prompts.prompt_ids]
        seeds = spawn_seeds(seed, len(self.sources))
        for (name, source), source_seed in zip(self.sources.items(), seeds, strict=True):
            given = source.respond(prompts, policy, source_seed)
            check_given(f"sources.{name}", source.most_given(), given, len(prompts))
            for i, responses in enumerate(given):
                groups[i].extend(Row(i, name, source.source, response) for response in responses if response.token_ids)
        return [row for group in groups for row in group]


def _check_named(field: str, parts: Any, kind: type, examples: str) -> None:
    if not isinstance(parts, Mapping):
        raise GFTTypeError(
            f"`{field}`: expected a dict by names of your choice, got a {type(parts).__name__}; give a dict of "
            f"{examples}"
        )
    if not parts:
        raise GFTValueError(f"`{field}`: expected at least one, got none; add one, such as {examples}")
    for name, part in parts.items():
        check_kind(f"{field}.{name}", part, kind, examples)
