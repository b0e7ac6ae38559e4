"""The data that flows through a step, and the legend of its shapes.

Dimensions, used in every docstring and comment of the package:

* ``P`` prompts of a batch
* ``K`` responses to one prompt; a prompt and its responses are a *group*
* ``N`` sequences of a batch: all responses of all groups. Groups may differ in size, so ``N`` need not be ``P * K``
* ``T`` padded length of a sequence, prompt and response together
* ``M`` response tokens of a batch, flattened: the positions of ``[N, T]`` where ``response_mask`` is true, by rows
* ``V`` vocabulary, ``H`` hidden size

Per-token tensors align with ``input_ids``: position ``t`` holds ``log pi(token t | tokens < t)``. Position 0 has
nothing before it, holds 0 and is always masked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import IntEnum
from typing import Any, Protocol

import torch
from torch import Tensor

from lightning_gft.sampling import SamplingParams


class Source(IntEnum):
    """Where a response comes from. Expert and teacher responses are demonstrations; ``SELF`` is the policy's own."""

    EXPERT = 0
    TEACHER = 1
    SELF = 2


@dataclass  # not frozen: see PromptBatch
class Response:
    """One response to one prompt, as token ids: never decoded and encoded again.

    Args:
        token_ids: The response's tokens, with those that ended it: an end-of-sequence token or a stop string's.
        finished: Whether one of them ended it before the length limit did.
        logprobs: Log-probabilities of ``token_ids`` under the policy that drew them, at temperature 1 and over the
            whole vocabulary whatever the sampling settings; ``None`` for demonstrations.
    """

    token_ids: list[int]
    finished: bool = True
    logprobs: list[float] | None = None


@dataclass  # not frozen: Lightning's plugins for precision and FSDP, and Fabric, rebuild batches field by field
class PromptBatch:
    """``P`` prompts, with what a group is built from.

    Args:
        prompt_ids: Token ids of each prompt, exactly as the policy is given it.
        prompts: Text of each prompt, as a reward sees it.
        references: What a verifier compares to; ``None`` where a prompt has none.
        demonstrations: Given responses by role, ``"expert"`` and ``"teacher"``: for each prompt any number of them,
            already tokenised and ended. A role that the data does not have is absent.
        columns: All columns of the data, for rewards that need more than the reference.
        messages: The conversation of each prompt, as a server of chat completions takes it; without a chat template
            one message of the user.
        dataset: Name of the data set within a datamodule; empty for the main one. It becomes part of the log keys.
        places: Where each prompt stands in the batch of all processes together. Its random choices follow from there,
            so that they do not depend on the number of processes; ``None`` where the places are not known.
    """

    prompt_ids: list[list[int]]
    prompts: list[str]
    references: list[Any]
    demonstrations: dict[str, list[list[Response]]] = field(default_factory=dict)
    columns: dict[str, list[Any]] = field(default_factory=dict)
    messages: list[list[dict[str, str]]] = field(default_factory=list)
    dataset: str = ""
    places: list[int] | None = None

    def __len__(self) -> int:
        return len(self.prompt_ids)

    def to(self, *_: Any, **__: Any) -> PromptBatch:
        """Return the batch itself: it holds no tensors, which come about in the sampler, on the policy's device."""
        return self


@dataclass  # not frozen: see PromptBatch
class TokenBatch:
    """What an objective knows about ``M`` response tokens, one entry a token.

    Args:
        advantages: ``[M]``, the advantage of the token's sequence.
        source: ``[M]``, the :class:`Source` of the token's sequence.
        weights: ``[M]``, the reduction's weight of the token's sequence.
        sampling_logprobs: ``[M]`` log-probabilities at sampling time; they mean nothing on demonstrations.
        old_logprobs: ``[M]`` log-probabilities under the policy that the group was sampled from, if asked for.
        ref_logprobs: ``[M]`` log-probabilities under the reference policy, if asked for.
    """

    advantages: Tensor
    source: Tensor
    weights: Tensor
    sampling_logprobs: Tensor | None = None
    old_logprobs: Tensor | None = None
    ref_logprobs: Tensor | None = None

    def __len__(self) -> int:
        return len(self.advantages)

    def __getitem__(self, index: slice | Tensor) -> TokenBatch:
        return TokenBatch(
            advantages=self.advantages[index],
            source=self.source[index],
            weights=self.weights[index],
            sampling_logprobs=_index(self.sampling_logprobs, index),
            old_logprobs=_index(self.old_logprobs, index),
            ref_logprobs=_index(self.ref_logprobs, index),
        )


@dataclass  # not frozen: see PromptBatch
class GroupBatch:
    """``N`` scored sequences of all groups of a batch, right-padded.

    Args:
        input_ids: ``[N, T]`` prompt and response.
        attention_mask: ``[N, T]``, true on real tokens.
        response_mask: ``[N, T]``, true on response tokens, the end-of-sequence token included, padding never.
        group_index: ``[N]``, which prompt of the batch a sequence answers.
        source: ``[N]``, a :class:`Source` value.
        rewards: ``[N]``, the weighted sum of all rewards.
        advantages: ``[N]``.
        finished: ``[N]``, whether the response ended before the length limit.
        reward_parts: ``[N]`` for each reward by its name, unweighted; NaN where it does not apply.
        prompts: ``N`` prompt texts.
        responses: ``N`` response texts without special tokens, as rewards see them that do not ask for those.
        weights: ``[N]``, the reduction's weight of each sequence; ``None`` counts as 1.
        sampling_logprobs: ``[N, T]`` log-probabilities at sampling time; 0 for demonstrations.
        old_logprobs: ``[N, T]``, see :class:`TokenBatch`.
        ref_logprobs: ``[N, T]``, see :class:`TokenBatch`.
    """

    input_ids: Tensor
    attention_mask: Tensor
    response_mask: Tensor
    group_index: Tensor
    source: Tensor
    rewards: Tensor
    advantages: Tensor
    finished: Tensor
    reward_parts: dict[str, Tensor] = field(default_factory=dict)
    prompts: list[str] = field(default_factory=list)
    responses: list[str] = field(default_factory=list)
    weights: Tensor | None = None
    sampling_logprobs: Tensor | None = None
    old_logprobs: Tensor | None = None
    ref_logprobs: Tensor | None = None

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

    def to(self, *args: Any, **kwargs: Any) -> GroupBatch:
        """Return the batch with its tensors moved, as :meth:`torch.Tensor.to` moves one."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self) if isinstance(getattr(self, f.name), Tensor)}
        moved: dict[str, Any] = {name: tensor.to(*args, **kwargs) for name, tensor in tensors.items()}
        parts = {name: part.to(*args, **kwargs) for name, part in self.reward_parts.items()}
        return replace(self, reward_parts=parts, **moved)

    def select(self, rows: Tensor) -> GroupBatch:
        """Return the given sequences, without the padding that they no longer need.

        Args:
            rows: ``[n]`` row numbers.
        """
        length = int(self.lengths[rows].max()) if len(rows) else 1
        numbers = rows.tolist()
        chosen: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Tensor):
                chosen[f.name] = value[rows][:, :length] if value.dim() == 2 else value[rows]
            elif isinstance(value, list):
                chosen[f.name] = [value[i] for i in numbers] if value else []
        parts = {name: part[rows] for name, part in self.reward_parts.items()}
        return replace(self, reward_parts=parts, **chosen)

    def tokens(self) -> TokenBatch:
        """Return what an objective knows about each response token, flattened to ``[M]``."""
        rows, columns = self.response_mask.nonzero(as_tuple=True)  # once, as it waits for the device
        weights = torch.ones_like(self.advantages) if self.weights is None else self.weights
        return TokenBatch(
            advantages=self.advantages[rows],
            source=self.source[rows],
            weights=weights[rows],
            sampling_logprobs=_index(self.sampling_logprobs, (rows, columns)),
            old_logprobs=_index(self.old_logprobs, (rows, columns)),
            ref_logprobs=_index(self.ref_logprobs, (rows, columns)),
        )


@dataclass  # not frozen: see PromptBatch
class LossOutput:
    """What one pass of the policy over a batch of groups gives.

    Args:
        loss: Scalar, already divided by the normaliser; call ``backward`` on it.
        logprobs: ``[M]``, without gradient.
        entropy: ``[M]``, entropy of the distribution that each token stems from, in nats; ``None`` if not asked for.
    """

    loss: Tensor
    logprobs: Tensor
    entropy: Tensor | None = None


CoefficientsFn = Callable[[Tensor, TokenBatch], Tensor]
"""An objective: detached coefficients ``[m]`` from log-probs ``[m]`` and their tokens, elementwise."""


class ResponseGenerator(Protocol):
    """What sources and samplers need of a policy: its own responses, its text, and where its tensors live."""

    @property
    def device(self) -> torch.device:
        """Device on which a batch for the policy belongs."""

    @property
    def pad_token_id(self) -> int:
        """Token id that fills a row up."""

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Return the text of a response, with special tokens or without; never with those that end it."""

    def generate(
        self,
        prompt_ids: Sequence[Sequence[int]],
        num_generations: int,
        sampling: SamplingParams,
        seed: int,
        places: Sequence[int] | None = None,
    ) -> list[list[Response]]:
        """Draw ``num_generations`` responses to each of ``P`` prompts; the same seed draws the same responses."""


def _index(values: Tensor | None, index: slice | Tensor | tuple[Tensor, Tensor]) -> Tensor | None:
    return None if values is None else values[index]
