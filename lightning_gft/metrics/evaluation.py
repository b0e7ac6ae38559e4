"""Evaluation of a policy: accuracy of greedy responses and of samples, and divergence from its start."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_gft.checks import check_count, check_number
from lightning_gft.errors import GFTValueError
from lightning_gft.functional import maj_at_k, pass_at_k
from lightning_gft.metrics.base import ExactMetric
from lightning_gft.metrics.correctness import Correctness
from lightning_gft.types import GroupBatch

_TOKENS = ("entropy", "kl", "kl_start")


class PolicyEvaluation(ExactMetric):
    """Accuracy and diversity of a policy over a data set.

    As input to ``update``:

    - ``greedy`` (:class:`~lightning_gft.types.GroupBatch`): one greedy response to each of ``P`` prompts
    - ``samples`` (:class:`~lightning_gft.types.GroupBatch`): ``k`` samples for each of them
    - ``entropy``, ``kl`` (:class:`~torch.Tensor`): ``[M]``, entropy and divergence at each token of the samples;
      ``kl`` may be ``None``
    - ``kl_start`` (:class:`~torch.Tensor`): divergence at each token of samples of the starting policy, or ``None``

    As output of ``compute``, scalars over all prompts since the last ``reset`` and over all ranks:

    - ``greedy_accuracy``: share of prompts whose greedy response is correct
    - ``mean@k``: share of samples that are correct
    - ``pass@j`` for j = 2, 4, 8, ... and k: probability that at least one of ``j`` samples is correct, by the unbiased
      estimator (arXiv 2107.03374)
    - ``maj@k``: probability that the most frequent answer is correct, with ties broken at random (arXiv 2203.11171);
      absent if the reward does not read answers
    - ``<figure>_stderr``: standard error of each of these over prompts; absent with a single prompt
    - ``response_length``: mean length of a sample, in tokens
    - ``entropy``: mean entropy of the distribution that a token is sampled from, in nats
    - ``kl``: mean of ``KL(policy‖base)`` per token of the policy's samples, in nats
    - ``kl_start``: mean of ``KL(base‖policy)`` per token of the starting policy's samples, in nats

    Args:
        num_samples: Number of samples per prompt, ``k``.
        reward_name: Name of the reward that decides whether a response is correct.
        correct_reward: Smallest value of this reward for a correct response.

    Raises:
        TypeError: If ``num_samples`` or ``correct_reward`` is not a number.
        ValueError: If ``num_samples`` is below 1, or ``correct_reward`` is infinite or NaN.

    Example:
        >>> PolicyEvaluation(num_samples=8, reward_name="accuracy").num_samples
        8
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    prompts: Tensor
    tokens: Tensor
    num_responses: Tensor

    def __init__(self, num_samples: int, reward_name: str, correct_reward: float = 1.0) -> None:
        super().__init__()
        self.num_samples = num_samples = check_count("num_samples", num_samples)
        self.correctness = Correctness(reward_name, check_number("correct_reward", correct_reward))
        self.draws = sorted({2**i for i in range(1, num_samples.bit_length()) if 2**i < num_samples} | {num_samples})
        passed = (f"pass@{k}" for k in self.draws)
        self.accuracies = ["greedy_accuracy", f"mean@{num_samples}", *passed, f"maj@{num_samples}"]
        shapes: dict[str, tuple[int, ...]] = {
            "prompts": (3, len(self.accuracies)),  # number, sum and sum of squares of each accuracy
            "tokens": (2, len(_TOKENS)),  # number of tokens and sum, for each of their figures
            "num_responses": (),
        }
        for name, shape in shapes.items():
            self.add_state(name, torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")

    def update(
        self,
        greedy: GroupBatch,
        samples: GroupBatch,
        entropy: Tensor,
        kl: Tensor | None,
        kl_start: Tensor | None = None,
    ) -> None:
        """Count the responses to a batch of prompts."""
        judged = self._correct(samples).view(-1, self.num_samples)
        correct = judged.sum(dim=1)
        accuracies = [
            self._correct(greedy),
            correct / self.num_samples,
            *(pass_at_k(self.num_samples, correct, k) for k in self.draws),
            self._voted(samples, judged),
        ]
        for n, values in enumerate(accuracies):
            self.prompts[:, n] += torch.stack([torch.ones_like(values), values, values**2]).sum(dim=1)
        for n, of_tokens in enumerate((entropy, kl, kl_start)):
            if of_tokens is not None:
                self.tokens[:, n] += torch.stack([torch.ones_like(of_tokens), of_tokens]).double().sum(dim=1)
        self.num_responses += len(samples)

    def compute(self) -> dict[str, Tensor]:
        """Return the figures described above, without those that were not measured."""
        number, total, squares = self.prompts
        mean = total / number.clamp(min=1)
        variance = (squares - total * mean).clamp(min=0) / (number - 1).clamp(min=1)
        error = (variance / number.clamp(min=1)).sqrt()
        figures, errors = {}, {}
        for n, (name, prompts) in enumerate(zip(self.accuracies, number.tolist(), strict=True)):
            if prompts or not name.startswith("maj@"):
                figures[name] = mean[n]
            if prompts > 1:
                errors[f"{name}_stderr"] = error[n]
        tokens, sums = self.tokens
        figures["response_length"] = tokens[0] / self.num_responses.clamp(min=1)
        of_tokens = sums / tokens.clamp(min=1)
        measured = {name: of_tokens[n] for n, name in enumerate(_TOKENS) if name == "entropy" or tokens[n]}
        return {**figures, **errors, **measured}

    def _correct(self, groups: GroupBatch) -> Tensor:
        name = self.correctness.reward
        judged = self.correctness.judged(groups.reward_parts[name])
        if judged.isnan().any():
            first = int(judged.isnan().nonzero()[0])
            raise GFTValueError(
                f"`evaluation.reward`: expected a reward that applies to every response, got None (not applicable) of "
                f"{name!r} for a response to the prompt {groups.prompts[first][:200]!r}; name another reward"
            )
        return judged

    def _voted(self, samples: GroupBatch, judged: Tensor) -> Tensor:
        """Return the accuracy of the majority for each prompt, or none if the reward does not read answers."""
        answers, k = samples.answers.get(self.correctness.reward, []), self.num_samples
        voters = [answers[start : start + k] for start in range(0, len(answers), k)]
        voted = [maj_at_k(given, correct) for given, correct in zip(voters, judged.tolist(), strict=False)]
        return torch.tensor(voted, dtype=torch.float64, device=judged.device)
