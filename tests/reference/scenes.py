"""Responses under a policy that is given by its logits, so that autograd knows all that a loss may."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lightning_gft.types import GroupBatch
from tests.reference.batches import random_groups
from tests.reference.losses import token_weights


@dataclass(frozen=True)
class Response:
    """The tokens of a response: log-probabilities ``[t]`` now, before the first update and at the start, entropies."""

    now: Tensor
    old: Tensor
    ref: Tensor
    entropy: Tensor
    advantage: float


Objective = Callable[[Response], Tensor]
"""What is maximised of each token of a response, ``[t]``."""


class Scene:
    """Ragged groups of all sources in mixed order, with the logits ``[N, T, V]`` that their tokens are drawn from."""

    def __init__(self, seed: int = 0, sizes: Sequence[int] = (6, 9, 7, 8), vocabulary: int = 6) -> None:
        generator = torch.Generator().manual_seed(seed)
        groups, _ = random_groups(seed, sizes, length=10)
        right = torch.randint(0, 2, (len(groups),), generator=generator).double()
        self.groups: GroupBatch = replace(groups, input_ids=groups.input_ids % vocabulary, rewards=right)
        shape = (*groups.input_ids.shape, vocabulary)
        # Some tokens are all but certain, others all but impossible.
        self.logits = (3 * torch.randn(shape, dtype=torch.float64, generator=generator)).requires_grad_()
        distributions = self.logits.log_softmax(dim=-1)
        self.logprobs = distributions.gather(-1, self.groups.input_ids[..., None]).squeeze(-1)
        noise = torch.randn((2, *groups.input_ids.shape), dtype=torch.float64, generator=generator)
        self.old, self.ref = self.logprobs.detach() + 0.4 * noise
        self.entropy = -(distributions.exp() * distributions).sum(dim=-1).detach()

    @property
    def known(self) -> dict[str, Tensor]:
        """What a loss may need, ``[N, T]`` each."""
        return {"old_logprobs": self.old, "ref_logprobs": self.ref, "entropy": self.entropy}

    def response(self, n: int) -> Response:
        mask = self.groups.response_mask[n]
        rows = (values[n][mask] for values in (self.logprobs, self.old, self.ref, self.entropy))
        return Response(*rows, advantage=self.groups.advantages[n].item())

    def prompts(self) -> dict[int, list[int]]:
        """Return the rows of each prompt."""
        rows: dict[int, list[int]] = {}
        for n, prompt in enumerate(self.groups.group_index.tolist()):
            rows.setdefault(prompt, []).append(n)
        return rows

    def mean(self, objective: Callable[[int, Response], Tensor], rows: Sequence[int], reduction: str) -> Tensor:
        """Return the mean of an objective, which may differ between rows, over the tokens of some rows."""
        lengths = [int(self.groups.response_mask[n].sum()) for n in rows]
        numbers = [self.groups.group_index[n].item() for n in rows]
        weights = token_weights([[True] * length for length in lengths], reduction, numbers)
        total = torch.zeros((), dtype=torch.float64)
        for weight, n in zip(weights, rows, strict=True):
            total = total + weight * objective(n, self.response(n)).sum()
        return total

    def gradient(self, value: Tensor) -> Tensor:
        """Return the gradient by the logits."""
        (gradient,) = torch.autograd.grad(value, self.logits, retain_graph=True)
        return gradient
