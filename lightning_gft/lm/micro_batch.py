"""Micro-batches: what a model runs at once."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn
from transformers import PreTrainedModel
from typing_extensions import override

from lightning_gft.functional.head.linear_head import LinearHead


class MicroBatch(ABC):  # no dataclass: Fabric would copy one, and round its tensors, among a module's arguments
    """Sequences that a model runs at once, and the response tokens that it predicts in them.

    Args:
        index: ``[m]``, the numbers of these tokens among the ``M`` response tokens of the batch, which are counted
            sequence by sequence.
        targets: ``[m]``, their ids.
    """

    def __init__(self, index: Tensor, targets: Tensor) -> None:
        self.index = index
        self.targets = targets

    def __len__(self) -> int:
        return len(self.index)

    @property
    @abstractmethod
    def num_tokens(self) -> int:
        """Tokens that go through the model, padding included."""

    @abstractmethod
    def states(self, model: PreTrainedModel, head: LinearHead | None) -> Tensor:
        """Run a model and return what the response tokens are predicted from.

        These are hidden states ``[m, H]``, or logits ``[m, V]`` where no head is fused with the loss.
        """


class Padded(MicroBatch):
    """Right-padded sequences ``[n, T]``, each of which runs by itself."""

    def __init__(self, index: Tensor, input_ids: Tensor, attention_mask: Tensor, response_mask: Tensor) -> None:
        # What is at t - 1 predicts token t.
        self.predicted = response_mask[:, 1:]
        super().__init__(index, input_ids[:, 1:][self.predicted])
        self.input_ids = input_ids
        self.attention_mask = attention_mask

    @property
    @override
    def num_tokens(self) -> int:
        return self.input_ids.numel()

    @override
    def states(self, model: PreTrainedModel, head: LinearHead | None) -> Tensor:
        body, output = body_of(model, head)
        result = body(input_ids=self.input_ids, attention_mask=self.attention_mask.long(), use_cache=False)
        states: Tensor = getattr(result, output)[:, :-1][self.predicted]
        return states


def body_of(model: PreTrainedModel, head: LinearHead | None) -> tuple[nn.Module, str]:
    """Return the module to run, and the name of the output that a micro-batch needs of it."""
    return (model, "logits") if head is None else (model.base_model, "last_hidden_state")


def token_numbers(response_mask: Tensor) -> Tensor:
    """Return ``[N, T]``: response tokens are counted sequence by sequence, from 0; elsewhere numbers mean nothing."""
    return response_mask.flatten().cumsum(0).view_as(response_mask) - 1
