"""Micro-batches: the sequences that a model runs in one forward pass."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn
from transformers import PreTrainedModel
from typing_extensions import override

from lightning_gft.functional.head.linear_head import LinearHead


class MicroBatch(ABC):  # not a dataclass: Fabric would copy one among a module's arguments, and round its tensors
    """The sequences of one forward pass, and the response tokens that it predicts.

    Args:
        index: ``[m]``, the numbers of these tokens among the ``M`` response tokens of the batch, which are counted
            sequence by sequence.
        targets: ``[m]``, the ids of these tokens.
    """

    def __init__(self, index: Tensor, targets: Tensor) -> None:
        self.index = index
        self.targets = targets

    def __len__(self) -> int:
        return len(self.index)

    @property
    @abstractmethod
    def num_tokens(self) -> int:
        """Tokens that the model computes, padding included."""

    @abstractmethod
    def states(self, model: PreTrainedModel, head: LinearHead | None) -> Tensor:
        """Run a model and return the states that predict the response tokens.

        They are hidden states ``[m, H]``, or logits ``[m, V]`` where no head is fused with the loss.
        """


class Padded(MicroBatch):
    """Right-padded sequences ``[n, T]``, one per row."""

    def __init__(self, index: Tensor, input_ids: Tensor, attention_mask: Tensor, response_mask: Tensor) -> None:
        # The state at t - 1 predicts token t.
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
    """Return the module to run, and the name of the output that a micro-batch takes from it."""
    return (model, "logits") if head is None else (model.base_model, "last_hidden_state")


def token_numbers(response_mask: Tensor) -> Tensor:
    """Return ``[N, T]``, the number of each response token, counted sequence by sequence from 0; invalid elsewhere."""
    return response_mask.flatten().cumsum(0).view_as(response_mask) - 1
