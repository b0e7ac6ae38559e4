"""What a model runs, and what was sampled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import torch
from torch import Tensor

from lightning_gft.types.tokens import TokenBatch


@dataclass  # not frozen: see PromptBatch
class Sequences:
    """``N`` right-padded sequences, a prompt and its response each: what a model runs.

    Args:
        input_ids: ``[N, T]`` prompt and response.
        attention_mask: ``[N, T]``, true on real tokens.
        response_mask: ``[N, T]``, true on response tokens, the end-of-sequence token included, padding never.
    """

    input_ids: Tensor
    attention_mask: Tensor
    response_mask: Tensor

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def lengths(self) -> Tensor:
        """``[N]`` real tokens of each sequence, prompt and response together."""
        return self.attention_mask.sum(dim=1)

    @property
    def response_lengths(self) -> Tensor:
        """``[N]`` response tokens of each sequence."""
        return self.response_mask.sum(dim=1)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Return the batch with its tensors moved, as :meth:`torch.Tensor.to` moves one."""
        return self._map(lambda tensor: tensor.to(*args, **kwargs), list)

    def select(self, rows: Tensor) -> Self:
        """Return the given sequences, without the padding that they no longer need.

        Args:
            rows: ``[n]`` row numbers.
        """
        length = int(self.lengths[rows].max()) if len(rows) else 1
        numbers = rows.tolist()
        return self._map(
            lambda tensor: tensor[rows][:, :length] if tensor.dim() == 2 else tensor[rows],
            lambda texts: [texts[i] for i in numbers] if texts else [],
        )

    def _map(self, of_tensor: Callable[[Tensor], Tensor], of_list: Callable[[list[Any]], list[Any]]) -> Self:
        changed: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Tensor):
                changed[f.name] = of_tensor(value)
            elif isinstance(value, dict):
                changed[f.name] = {
                    name: of_tensor(of_row) if isinstance(of_row, Tensor) else of_list(of_row)
                    for name, of_row in value.items()
                }
            elif isinstance(value, list):
                changed[f.name] = of_list(value)
        return replace(self, **changed)


@dataclass  # not frozen: see PromptBatch
class GroupBatch(Sequences):
    """``N`` scored sequences of all groups of a batch: what was sampled.

    Args:
        input_ids: See :class:`Sequences`, as for the two masks.
        attention_mask: ``[N, T]``.
        response_mask: ``[N, T]``.
        group_index: ``[N]``, which prompt of the batch a sequence answers.
        source: ``[N]``, a :class:`Source` value.
        rewards: ``[N]``, the weighted sum of all rewards.
        advantages: ``[N]``.
        finished: ``[N]``, whether the response ended before the length limit.
        reward_parts: ``[N]`` for each reward by its name, unweighted; NaN where it does not apply.
        prompts: ``N`` prompt texts.
        responses: ``N`` response texts without special tokens, as rewards see them that do not ask for those.
        answers: ``N`` answers that a reward reads in the responses, ``None`` where it finds none, by the reward's name;
            a reward that reads no answers is absent.
        sampling_logprobs: ``[N, T]`` log-probabilities at sampling time, NaN on the tokens of a response without them.
        teacher_logprobs: ``[N, T]`` log-probabilities under a teacher, NaN on the tokens of a response without them;
            ``None`` where no source gives them.
        weights_version: ``[N]``, optimizer steps of the weights that drew each sequence; -1 where that is not known, as
            for demonstrations.
        set_aside: ``[N]``, true for sequences that are only counted: no loss trains on them or has them in ``Z``.
        num_tried: Prompts that were sampled, where not all of a batch need be; ``None`` for all of them.
        sampling_seconds: What it took until all responses were there, on this rank.
        scoring_seconds: What the rewards took.
    """

    group_index: Tensor
    source: Tensor
    rewards: Tensor
    advantages: Tensor
    finished: Tensor
    reward_parts: dict[str, Tensor] = field(default_factory=dict)
    prompts: list[str] = field(default_factory=list)
    responses: list[str] = field(default_factory=list)
    answers: dict[str, list[str | None]] = field(default_factory=dict)
    sampling_logprobs: Tensor | None = None
    teacher_logprobs: Tensor | None = None
    weights_version: Tensor | None = None
    set_aside: Tensor | None = None
    num_tried: int | None = None
    sampling_seconds: float = 0.0
    scoring_seconds: float = 0.0

    def tokens(self, logprobs: Tensor | None = None, weights: Tensor | None = None) -> TokenBatch:
        """Return what is known of each response token, flattened to ``[M]``: sequence by sequence, in their order.

        Args:
            logprobs: ``[M]`` under the policy as it is now, if the policy has run.
            weights: ``[N]``, the reduction's weight of each sequence; 1 by default.
        """
        rows, columns = self.response_mask.nonzero(as_tuple=True)  # once, as it waits for the device
        starts = self.response_mask.int().argmax(dim=1)
        dtype = torch.promote_types(self.advantages.dtype, torch.float32)
        return TokenBatch(
            logprobs=torch.full_like(rows, torch.nan, dtype=dtype) if logprobs is None else logprobs.detach(),
            advantages=self.advantages[rows],
            source=self.source[rows],
            sequence=rows,
            position=columns - starts[rows],
            weights=torch.ones_like(rows, dtype=dtype) if weights is None else weights[rows],
            sampling_logprobs=None if self.sampling_logprobs is None else self.sampling_logprobs[rows, columns],
            teacher_logprobs=None if self.teacher_logprobs is None else self.teacher_logprobs[rows, columns],
        )
