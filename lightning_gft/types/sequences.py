"""The input of a model, and sampled groups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import torch
from torch import Tensor

from lightning_gft.errors import GFTValueError
from lightning_gft.types.prompts import Source
from lightning_gft.types.tokens import TokenBatch

IGNORED = -100
"""The label of a token that is not trained on, as in transformers and in PyTorch's cross-entropy."""


@dataclass  # not frozen: see PromptBatch
class Sequences:
    """``N`` right-padded sequences of a prompt and its response, which a model runs.

    Args:
        input_ids: ``[N, T]`` token ids of prompt and response.
        attention_mask: ``[N, T]``, true on real tokens.
        response_mask: ``[N, T]``, true on response tokens with the end-of-sequence token, false on padding.
    """

    input_ids: Tensor
    attention_mask: Tensor
    response_mask: Tensor

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def labels(self) -> Tensor:
        """``[N, T]`` ids of response tokens, and -100 elsewhere, as transformers and TRL expect them."""
        return self.input_ids.masked_fill(~self.response_mask, IGNORED)

    @property
    def lengths(self) -> Tensor:
        """``[N]`` real tokens of each sequence, prompt and response together."""
        return self.attention_mask.sum(dim=1)

    @property
    def response_lengths(self) -> Tensor:
        """``[N]`` response tokens of each sequence."""
        return self.response_mask.sum(dim=1)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Return the batch with its tensors moved or converted like :meth:`torch.Tensor.to`."""
        return self._map(lambda tensor: tensor.to(*args, **kwargs), list)

    def select(self, rows: Tensor) -> Self:
        """Return some of the sequences, without padding that they do not need.

        Args:
            rows: ``[n]`` numbers of the sequences to return.
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
    """``N`` scored sequences of all groups of a batch.

    Args:
        input_ids: ``[N, T]`` token ids of prompt and response.
        attention_mask: ``[N, T]``, true on real tokens.
        response_mask: ``[N, T]``, true on response tokens.
        group_index: ``[N]``, the number of the prompt in the batch that a sequence answers.
        source: ``[N]``, a :class:`Source` value.
        rewards: ``[N]``, the weighted sum of all rewards.
        advantages: ``[N]``, advantages within the groups.
        finished: ``[N]``, whether the response ended before the length limit.
        reward_parts: ``[N]`` unweighted values of each reward by name; NaN where it does not apply.
        prompts: ``N`` texts of prompts.
        responses: ``N`` texts of responses without special tokens, as rewards receive them by default.
        answers: ``N`` answers that a reward reads in the responses, by the reward's name, ``None`` where it finds none;
            a reward that reads no answers is absent.
        sampling_logprobs: ``[N, T]`` log-probabilities at sampling time, NaN on the tokens of a response without them.
        teacher_logprobs: ``[N, T]`` log-probabilities under a teacher, NaN on the tokens of a response without them;
            ``None`` if no source gives them.
        weights_version: ``[N]``, number of optimizer steps that the run had taken when it made the weights that sampled
            each sequence; -1 if it is not known, as for demonstrations.
        excluded: ``[N]``, true for sequences that are only counted: no loss trains on them or counts them in ``Z``.
        longest_response: Length limit of the responses that the sources sample, in tokens; 0 if none samples.
        num_tried: Number of prompts that were sampled, if it may differ from the batch; ``None`` for all of them.
        sampling_seconds: Seconds until all responses of this rank were drawn.
        scoring_seconds: Seconds that the rewards took.
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
    excluded: Tensor | None = None
    longest_response: int = 0
    num_tried: int | None = None
    sampling_seconds: float = 0.0
    scoring_seconds: float = 0.0

    @classmethod
    def from_labels(
        cls,
        labels: Tensor,
        advantages: Tensor | None = None,
        source: Tensor | None = None,
        rewards: Tensor | None = None,
        group_index: Tensor | None = None,
    ) -> GroupBatch:
        """Return a batch of groups from labels, for a loss in a training loop without a sampler.

        Args:
            labels: ``[N, T]`` token ids, -100 on tokens that are not trained on. Position 0 never is, as no token
                precedes it.
            advantages: ``[N]``; 1 by default, as for plain demonstrations.
            source: ``[N]`` values of :class:`Source`; the expert's by default.
            rewards: ``[N]``; by default NaN, which no reward exceeds.
            group_index: ``[N]``, the group of each sequence; by default each is in a separate group.

        Raises:
            ValueError: If a shape does not fit.

        Example:
            >>> groups = GroupBatch.from_labels(torch.tensor([[-100, -100, 7, 8], [-100, 6, 9, -100]]))
            >>> groups.response_lengths, groups.advantages
            (tensor([2, 2]), tensor([1., 1.]))
        """
        if labels.dim() != 2:
            raise GFTValueError(f"`labels`: expected [N, T], got {list(labels.shape)}; give one row per sequence")
        by_sequence = {"advantages": advantages, "source": source, "rewards": rewards, "group_index": group_index}
        for name, given in by_sequence.items():
            if given is not None and given.shape != labels.shape[:1]:
                raise GFTValueError(
                    f"`{name}`: expected [{len(labels)}], got {list(given.shape)}; give one value per sequence"
                )
        numbers, mask = torch.arange(len(labels), device=labels.device), labels != IGNORED
        mask[:, :1] = False
        one = torch.ones_like(numbers, dtype=torch.float32)
        return cls(
            input_ids=labels.masked_fill(~mask, 0),
            attention_mask=torch.ones_like(mask),
            response_mask=mask,
            group_index=numbers if group_index is None else group_index,
            source=torch.full_like(numbers, Source.EXPERT) if source is None else source,
            rewards=torch.full_like(one, torch.nan) if rewards is None else rewards,
            advantages=one if advantages is None else advantages,
            finished=torch.ones_like(numbers, dtype=torch.bool),
        )

    def tokens(self, logprobs: Tensor | None = None, weights: Tensor | None = None) -> TokenBatch:
        """Return the known values of each response token, flattened to ``[M]``: sequence by sequence, in their order.

        Args:
            logprobs: ``[M]`` log-probabilities under the current policy, if it has run.
            weights: ``[N]``, the reduction's weight of each sequence; 1 by default.
        """
        rows, columns = self.response_mask.nonzero(as_tuple=True)  # once, because it synchronises with the device
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
