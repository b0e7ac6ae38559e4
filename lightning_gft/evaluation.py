"""Evaluation: what is drawn from a policy to find out what it can do."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from torch import Tensor

from lightning_gft.advantages import RewardAdvantage
from lightning_gft.checks import check_count, check_number, check_seed
from lightning_gft.errors import GFTValueError
from lightning_gft.metrics import PolicyEvaluation
from lightning_gft.policy import Policy
from lightning_gft.rewards import Reward
from lightning_gft.sampler import GroupSampler
from lightning_gft.sampling import SamplingParams
from lightning_gft.sources import SelfSource
from lightning_gft.types import GroupBatch, PromptBatch


def log_key(stage: str, figure: str, dataset: str = "") -> str:
    """Return the name under which a figure is logged.

    Args:
        stage: ``"train"``, ``"val"`` or ``"test"``.
        figure: The figure.
        dataset: Name of the data set; empty for the main one.

    Example:
        >>> log_key("val", "pass@8"), log_key("val", "pass@8", "hard")
        ('val/pass@8', 'val/hard/pass@8')
    """
    return "/".join(part for part in (stage, dataset, figure) if part)


@dataclass(frozen=True)
class Evaluation:
    """How validation and test measure the policy.

    Args:
        num_samples: Samples a prompt, for ``mean@k`` and ``pass@k``.
        max_new_tokens: Longest response, in tokens.
        temperature: Of the samples.
        top_p: Of the samples.
        min_new_tokens: No token that ends a response is drawn before that many others.
        stop_strings: A text, or several, whose appearance ends a response; give those of the ``SelfSource``.
        reward: Name of the reward that tells whether a response is correct; by default the first.
        correct_reward: A response with at least this reward is correct.
        kl: Whether to measure the divergence from the starting policy, for which a frozen copy of it is kept.
        seed: The same in every evaluation, so that differences are the policy's.

    Raises:
        ValueError: If ``num_samples`` is below 1 or another number is out of range.
        TypeError: If one is not a number.

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
        names = ("max_new_tokens", "temperature", "top_p", "min_new_tokens")
        sampling = SamplingParams(
            **{name: getattr(self, name) for name in names}, stop_strings=self.stop_strings, of=of
        )
        checked = {
            "num_samples": check_count("num_samples", self.num_samples, of=of),
            "correct_reward": check_number("correct_reward", self.correct_reward, of=of),
            "seed": check_seed("seed", self.seed, of=of),
            **{name: getattr(sampling, name) for name in names},
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        if sampling.greedy and self.num_samples > 1:
            raise GFTValueError(
                f"`num_samples` of {of}: expected 1 with temperature=0, got {self.num_samples}; greedy decoding gives "
                "the same response each time, so set num_samples: 1 or a temperature above 0"
            )


class Evaluator:
    """Draws a greedy response and samples for each prompt, and counts what they are worth.

    Args:
        settings: What to draw.
        rewards: The rewards that training uses.

    Raises:
        ValueError: If the settings name a reward that there is not.
    """

    def __init__(self, settings: Evaluation, rewards: dict[str, Reward]) -> None:
        self.reward_name = settings.reward or next(iter(rewards))
        if self.reward_name not in rewards:
            raise GFTValueError(
                f"evaluation.reward={settings.reward!r} is not one of the rewards: {', '.join(rewards)}"
            )
        self.settings = settings
        draw = partial(
            SelfSource,
            max_new_tokens=settings.max_new_tokens,
            min_new_tokens=settings.min_new_tokens,
            stop_strings=settings.stop_strings,
        )
        samples = draw(settings.num_samples, temperature=settings.temperature, top_p=settings.top_p)
        self.greedy = GroupSampler({"greedy": draw(1, temperature=0.0)}, rewards, RewardAdvantage())
        self.samples = GroupSampler({"samples": samples}, rewards, RewardAdvantage())

    def metric(self) -> PolicyEvaluation:
        """Return an empty metric to count into."""
        return PolicyEvaluation(self.settings.num_samples, self.reward_name, self.settings.correct_reward)

    def evaluate(self, metric: PolicyEvaluation, prompts: PromptBatch, policy: Policy, seed: int, budget: int) -> None:
        """Count one batch of prompts into ``metric``.

        Args:
            metric: From :meth:`metric`.
            prompts: The prompts.
            policy: The policy, with a reference where the divergence from it is wanted.
            seed: Of this batch.
            budget: Tokens to run at once.
        """
        samples = self.samples.sample(prompts, policy, seed)
        logprobs, entropy = policy.token_logprobs(samples, budget)
        kl = self._divergence(policy, samples, logprobs, budget) if self.settings.kl else None
        metric.update(self.greedy.sample(prompts, policy, seed), samples, entropy[samples.response_mask], kl)

    def _divergence(self, policy: Policy, samples: GroupBatch, logprobs: Tensor, budget: int) -> Tensor:
        """Schulman's k3 estimate, never negative and unbiased for samples drawn at temperature 1."""
        with policy.reference():
            ref_logprobs, _ = policy.token_logprobs(samples, budget)
        log_ratio = (ref_logprobs - logprobs)[samples.response_mask]
        return log_ratio.exp() - 1 - log_ratio
