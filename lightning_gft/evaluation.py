"""Evaluation: samples responses from a policy and measures its abilities."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from lightning_gft.advantages import RewardAdvantage
from lightning_gft.checks import check_count, check_number, check_seed
from lightning_gft.errors import GFTValueError
from lightning_gft.functional.logprobs import k3_divergence, log_ratio
from lightning_gft.metrics import Correctness, PolicyEvaluation
from lightning_gft.policy import Policy
from lightning_gft.rewards import Reward
from lightning_gft.sampler import GroupSampler
from lightning_gft.sampling import SamplingParams
from lightning_gft.sources import SelfSource
from lightning_gft.start_samples import StartSamples
from lightning_gft.types import GroupBatch, PromptBatch, Response, ResponseGenerator
from lightning_gft.waiting import abandonable

_DRAWN = ("max_new_tokens", "temperature", "top_p", "min_new_tokens", "stop_strings")


def log_key(stage: str, figure: str, dataset: str = "") -> str:
    """Return the name under which a figure is logged.

    Args:
        stage: ``"train"``, ``"val"`` or ``"test"``.
        figure: Name of the figure within the stage.
        dataset: Name of the data set; empty for the main one.

    Example:
        >>> log_key("val", "pass@8"), log_key("val", "pass@8", "hard")
        ('val/pass@8', 'val/hard/pass@8')
    """
    return "/".join(part for part in (stage, dataset, figure) if part)


@dataclass(frozen=True)
class Evaluation:
    """Settings of validation and test.

    Args:
        num_samples: Number of samples per prompt, for ``mean@k``, ``pass@k`` and ``maj@k``.
        max_new_tokens: Longest response, in tokens.
        temperature: Temperature of the samples, see :class:`~lightning_gft.SelfSource`.
        top_p: Probability mass to sample from, see :class:`~lightning_gft.SelfSource`.
        min_new_tokens: Number of tokens before which no token that ends a response is sampled.
        stop_strings: One or several texts that end a response; give those of the ``SelfSource``.
        reward: Name of the reward that decides whether a response is correct; by default the first that is no penalty.
        correct_reward: Least score of a correct response under that reward.
        kl: Whether to measure the KL divergence from the starting policy, on own samples and on one sample per prompt
            of the starting policy. This keeps a frozen copy of it, whatever the loss uses as its reference.
        seed: Seed of the samples, the same in every evaluation, so that only the policy causes differences.

    Raises:
        ValueError: If ``num_samples`` is below 1 or another number is out of range.
        TypeError: If a value that must be a number is none.

    Example:
        >>> Evaluation(num_samples=16).temperature
        1.0
    """

    num_samples: int = 8
    max_new_tokens: int = 512
    temperature: float = 1.0
    top_p: float = 1.0
    reward: str | None = None
    correct_reward: float = 1.0
    kl: bool = True
    seed: int = 0
    min_new_tokens: int = 0
    stop_strings: str | list[str] = ""

    def __post_init__(self) -> None:
        of = type(self).__name__
        sampling = SamplingParams(**{name: getattr(self, name) for name in _DRAWN}, of=of)
        checked = {
            "num_samples": check_count("num_samples", self.num_samples, of=of),
            "correct_reward": check_number("correct_reward", self.correct_reward, of=of),
            "seed": check_seed("seed", self.seed, of=of),
            **{name: getattr(sampling, name) for name in _DRAWN},
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        sampling.check_several("num_samples", self.num_samples, of=of)


@dataclass
class Evaluated:
    """The responses to a batch of ``P`` prompts, on the CPU.

    Args:
        greedy: One greedy response per prompt.
        samples: ``k`` samples per prompt.
    """

    greedy: GroupBatch
    samples: GroupBatch


class Evaluator:
    """Draws a greedy response and samples for each prompt, measures them, and keeps them until the evaluation's end.

    Args:
        settings: Settings of the evaluation.

    Attributes:
        evaluated: Responses drawn since :meth:`start`, by data set; for callbacks.
    """

    def __init__(self, settings: Evaluation) -> None:
        self.settings = settings
        self.evaluated: dict[str, list[Evaluated]] = {}
        self._metrics: dict[str, PolicyEvaluation] = {}
        self._whole = ExitStack()
        sampling = {name: getattr(settings, name) for name in _DRAWN}
        self._source = _GreedyAndSamples(settings.num_samples, **sampling)
        self._start = StartSamples(self._source.sampling)

    def reward_name(self, rewards: Mapping[str, Reward]) -> str:
        """Return the name of the reward that decides whether a response is correct.

        Args:
            rewards: The training rewards by name.

        Raises:
            ValueError: If the settings name another reward or a penalty, or all rewards are penalties.
        """
        measuring = [name for name, reward in rewards.items() if reward.measures()]
        if not measuring:
            raise GFTValueError(
                f"`rewards`: expected one that decides whether a response is correct, got penalties alone "
                f"({', '.join(rewards)}); add one such as NumericReward()"
            )
        name = self.settings.reward or measuring[0]
        if name not in measuring:
            raise GFTValueError(f"`evaluation.reward`: expected one of {', '.join(measuring)}, got {name!r}; name one")
        return name

    def correctness(self, rewards: Mapping[str, Reward]) -> Correctness:
        """Return the criterion of a correct response.

        Args:
            rewards: The training rewards by name.

        Raises:
            ValueError: As in :meth:`reward_name`.
        """
        return Correctness(self.reward_name(rewards), self.settings.correct_reward)

    def metric(self, rewards: Mapping[str, Reward]) -> PolicyEvaluation:
        """Return an empty metric of the figures to measure."""
        return PolicyEvaluation(self.settings.num_samples, self.reward_name(rewards), self.settings.correct_reward)

    def start(self, policy: Policy, reference: bool = True) -> None:
        """Begin an evaluation. Sharded weights stay gathered until its end, as ranks may differ in their batches.

        Args:
            policy: The policy to evaluate.
            reference: Whether the policy as it was loaded is run as well.
        """
        self.leave()
        self._start.begin(policy)
        kept = policy.reference_model if reference and self.settings.kl else None
        self._whole.enter_context(policy.drawing(*([] if kept is None else [kept])))

    def leave(self) -> None:
        """Discard the drawn responses, and end an evaluation that is not finished."""
        self._whole.close()
        self.evaluated, self._metrics = {}, {}

    def step(
        self, prompts: PromptBatch, policy: Policy, sampler: GroupSampler, seed: int, max_tokens: int
    ) -> Evaluated:
        """Evaluate a batch of prompts, and return the drawn responses.

        Args:
            prompts: A batch of prompts of one data set.
            policy: The policy to evaluate; must keep its loaded weights if the KL divergence is measured.
            sampler: The training sampler, whose rewards and total are used.
            seed: The seed of this batch.
            max_tokens: Most tokens of one forward pass.

        Raises:
            RunStoppedError: If the run was asked to stop before all ranks had their responses.
        """
        drawing = GroupSampler({"evaluation": self._source}, sampler.rewards, RewardAdvantage(), total=sampler.total)
        with abandonable():  # by sampling, the last draw, ranks agree about all of them
            kl_start = self._start.divergence(prompts, policy, seed, max_tokens) if self.settings.kl else None
            drawn = drawing.sample(prompts, policy, seed)
        row = torch.arange(len(drawn), device=drawn.source.device)
        is_greedy = row % self._source.num_responses == 0
        greedy, samples = (drawn.select(rows.nonzero().squeeze(1)) for rows in (is_greedy, ~is_greedy))
        logprobs, entropy = policy.token_logprobs(samples, max_tokens)
        kl = self._divergence(policy, samples, logprobs, max_tokens) if self.settings.kl else None
        if prompts.dataset not in self._metrics:
            self._metrics[prompts.dataset] = self.metric(sampler.rewards).to(policy.device)
        self._metrics[prompts.dataset].update(greedy, samples, entropy[samples.response_mask], kl, kl_start)
        kept = Evaluated(greedy.to("cpu"), samples.to("cpu"))
        self.evaluated.setdefault(prompts.dataset, []).append(kept)
        return kept

    def finish(self) -> dict[str, dict[str, Tensor]]:
        """Return the figures of each data set over all ranks; drawn responses are kept until :meth:`leave`."""
        self._whole.close()
        self._start.end()
        figures = {dataset: metric.compute() for dataset, metric in self._metrics.items()}
        self._metrics = {}
        return figures

    def _divergence(self, policy: Policy, samples: GroupBatch, logprobs: Tensor, max_tokens: int) -> Tensor:
        """Return Schulman's k3 estimate, which is never negative, and unbiased for samples at temperature 1."""
        with policy.as_loaded():
            ref_logprobs, _ = policy.token_logprobs(samples, max_tokens)
        return k3_divergence(log_ratio(logprobs, ref_logprobs)[samples.response_mask])


class _GreedyAndSamples(SelfSource):
    """Draws the greedy response and the samples of each prompt from one prefill."""

    def __init__(self, num_samples: int, **sampling: Any) -> None:
        super().__init__(num_samples, **sampling)
        self.num_samples = num_samples
        self.num_responses = num_samples + 1

    @override
    def respond(self, prompts: PromptBatch, policy: ResponseGenerator, seed: int) -> list[list[Response]]:
        return policy.generate(
            prompts.prompt_ids, self.num_samples, self.sampling, seed, places=prompts.places, with_greedy=True
        )
