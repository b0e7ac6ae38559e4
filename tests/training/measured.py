"""What is measured of updates, taken slowly: from copies of all weights, one sequence at a time."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.distributed.tensor import DTensor

from lightning_gft import GroupBatch, Source

Figures = dict[str, float]
UPDATES = ("grad_norm_by_block/", "update_ratio", "kl_step")


def whole(tensor: Tensor) -> Tensor:
    own = tensor.detach()
    return (own.full_tensor() if isinstance(own, DTensor) else own).double().clone()


def part_of(name: str) -> str:
    """Return the part of a model that a weight is in, by its name."""
    if block := re.search(r"\.(?:layers|h)\.(\d+)\.", name):
        return f"block_{block[1]}"
    return "embedding" if re.search(r"embed_tokens|wte", name) else "head" if "lm_head" in name else "other"


class Measured(Callback):
    """Takes the figures of each step; with sharded weights all ranks take the same."""

    def __init__(self) -> None:
        self.figures: list[Figures] = []
        self.logged: list[Figures] = []
        self._before: dict[str, Tensor] = {}

    def on_train_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self._before_step = self._state(pl_module)

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        squares: dict[str, float] = defaultdict(float)
        self._before = {}
        for name, weight in pl_module.policy.model.named_parameters():
            if weight.requires_grad:
                self._before[name] = whole(weight)
                squares[part_of(name)] += float(whole(weight.grad).square().sum())
        self._norms = {f"grad_norm_by_block/{part}": square**0.5 for part, square in squares.items()}

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *_: Any) -> None:
        if not self._before:  # no update was applied
            self._add(trainer, {})
            return
        after = {name: whole(w) for name, w in pl_module.policy.model.named_parameters() if w.requires_grad}
        change = sum(float((after[name] - old).square().sum()) for name, old in self._before.items())
        total = sum(float(old.square().sum()) for old in self._before.values())
        figures = {**self._norms, "update_ratio": (change / total) ** 0.5}
        if not pl_module.policy.sharding.is_split:
            figures["kl_step"] = self._divergence(pl_module, outputs["groups"])
        self._add(trainer, figures)
        self._before = {}

    def _add(self, trainer: Any, figures: Figures) -> None:
        self.figures.append(figures)
        metrics = {name.removeprefix("train/"): float(value) for name, value in trainer.callback_metrics.items()}
        self.logged.append({name: value for name, value in metrics.items() if name.startswith(UPDATES)})

    def _state(self, module: Any) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in module.policy.model.state_dict().items()}

    def _divergence(self, module: Any, groups: GroupBatch) -> float:
        """Return the mean over tokens of p_after / p_before - 1 - log of the same, on own samples, else on all."""
        model, after = module.policy.model, self._state(module)
        rows = [n for n in range(len(groups)) if groups.source[n] == Source.SELF] or [*range(len(groups))]
        new = [self._logprobs(model, groups, row) for row in rows]
        model.load_state_dict(self._before_step)
        old = [self._logprobs(model, groups, row) for row in rows]
        model.load_state_dict(after)
        ratio = torch.cat(new) - torch.cat(old)
        return float((ratio.exp() - 1 - ratio).mean())

    @torch.no_grad()
    def _logprobs(self, model: Any, groups: GroupBatch, row: int) -> Tensor:
        ids = groups.input_ids[row][groups.attention_mask[row]]
        number = int(groups.response_mask[row].sum())
        was_training = model.training
        logits = model.eval()(ids[None]).logits[0].double()
        model.train(was_training)
        return logits.log_softmax(dim=-1)[torch.arange(len(ids) - 1), ids[1:]][-number:]
