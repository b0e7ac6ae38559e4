"""What a policy can do: accuracy of its best guess, of its samples, and how far it has moved."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_gft.checks import check_count, check_number
from lightning_gft.errors import GFTValueError
from lightning_gft.functional import pass_at_k
from lightning_gft.metrics.base import ExactMetric
from lightning_gft.types import GroupBatch


class PolicyEvaluation(ExactMetric):
    """Accuracy and diversity of a policy over a data set.

    As input to ``update``:

    - ``greedy`` (:class:`~lightning_gft.types.GroupBatch`): one greedy response to each of ``P`` prompts
    - ``samples`` (:class:`~lightning_gft.types.GroupBatch`): ``k`` samples for each of them
    - ``entropy``, ``kl`` (:class:`~torch.Tensor`): ``[M]``, of the samples' tokens; ``kl`` may be ``None``

    As output of ``compute``, scalars over all prompts since the last ``reset`` and over all ranks:

    - ``greedy_accuracy``: share of prompts whose greedy response is correct
    - ``mean@k``: share of samples that are correct
    - ``pass@j`` for j = 2, 4, 8, ... and k: chance that one of ``j`` samples is correct, unbiased (arXiv 2107.03374)
    - ``response_length``: mean tokens of a sample
    - ``entropy``: mean entropy of a sampled token's distribution, in nats
    - ``kl``: mean divergence of a sampled token from the starting policy, in nats

    Args:
        num_samples: Samples a prompt, ``k``.
        reward_name: Reward that tells whether a response is correct.
        correct_reward: A response with at least this reward is correct.

    Raises:
        TypeError: If a number is none.
        ValueError: If ``num_samples`` is below 1, or ``correct_reward`` infinite or NaN.

    Example:
        >>> PolicyEvaluation(num_samples=8, reward_name="accuracy").num_samples
        8
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    num_prompts: Tensor
    greedy_correct: Tensor
    mean_sum: Tensor
    pass_sums: Tensor
    num_responses: Tensor
    num_tokens: Tensor
    entropy_sum: Tensor
    kl_sum: Tensor
    num_kl_tokens: Tensor

    def __init__(self, num_samples: int, reward_name: str, correct_reward: float = 1.0) -> None:
        super().__init__()
        self.num_samples = num_samples = check_count("num_samples", num_samples)
        self.reward_name = reward_name
        self.correct_reward = check_number("correct_reward", correct_reward)
        for name in (
            *("num_prompts", "greedy_correct", "mean_sum"),
            *("num_responses", "num_tokens", "entropy_sum", "kl_sum", "num_kl_tokens"),
        ):
            self.add_state(name, torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.draws = sorted({2**i for i in range(1, num_samples.bit_length()) if 2**i < num_samples} | {num_samples})
        self.add_state("pass_sums", torch.zeros(len(self.draws), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, greedy: GroupBatch, samples: GroupBatch, entropy: Tensor, kl: Tensor | None) -> None:
        """Count the responses to a batch of prompts."""
        correct = self._correct(samples).view(-1, self.num_samples).sum(dim=1)
        self.num_prompts += len(correct)
        self.greedy_correct += self._correct(greedy).sum()
        self.mean_sum += (correct / self.num_samples).sum()
        self.pass_sums += torch.stack([pass_at_k(self.num_samples, correct, k).sum() for k in self.draws])
        self.num_responses += len(samples)
        self.num_tokens += len(entropy)
        self.entropy_sum += entropy.double().sum()
        if kl is not None:
            self.num_kl_tokens += len(kl)
            self.kl_sum += kl.double().sum()

    def compute(self) -> dict[str, Tensor]:
        """Return the figures described above; ``kl`` only where it was measured."""
        prompts, tokens = self.num_prompts.clamp(min=1), self.num_tokens.clamp(min=1)
        figures = {
            "greedy_accuracy": self.greedy_correct / prompts,
            f"mean@{self.num_samples}": self.mean_sum / prompts,
            **{f"pass@{k}": total / prompts for k, total in zip(self.draws, self.pass_sums, strict=True)},
            "response_length": self.num_tokens / self.num_responses.clamp(min=1),
            "entropy": self.entropy_sum / tokens,
        }
        if self.num_kl_tokens:
            figures["kl"] = self.kl_sum / self.num_kl_tokens
        return figures

    def _correct(self, groups: GroupBatch) -> Tensor:
        rewards = groups.reward_parts[self.reward_name]
        if rewards.isnan().any():
            first = int(rewards.isnan().nonzero()[0])
            raise GFTValueError(
                f"`evaluation.reward`: {self.reward_name!r} gave None (not applicable) for a response to the prompt "
                f"{groups.prompts[first][:200]!r}, so whether it is correct is not known; name a reward that "
                "applies to every response"
            )
        return (rewards >= self.correct_reward).double()
