"""Restricts Lightning's weight averaging to the weights that are trained."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from typing_extensions import override


def average_what_trains(callback: WeightAveraging) -> None:
    """Let a callback average the trained weights instead of a copy of the whole module.

    Frozen weights need no average: a base model would be held in memory twice, quantised weights would be averaged as
    numbers, and checkpoints omit both. Half precision is averaged in float32, where a decay of 0.999 still has effect.

    Example:
        >>> from lightning.pytorch.callbacks import EMAWeightAveraging
        >>> callback = EMAWeightAveraging(decay=0.9)
        >>> average_what_trains(callback)
        >>> isinstance(callback, EMAWeightAveraging), callback.state_key
        (True, 'EMAWeightAveraging')
    """
    kind = type(callback)
    if not issubclass(kind, _TrainedWeightAveraging):
        # Lightning's methods copy the whole module, and no hook lets another object choose the weights. So the methods
        # are overridden on the user's own callback, where the overrides of a user's subclass still apply. The class
        # keeps its name, by which a checkpoint finds the callback's state.
        body = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
        callback.__class__ = type(kind.__name__, (_TrainedWeightAveraging, kind), body)


class _TrainedWeightAveraging(WeightAveraging):
    _average_model: AveragedModel | None
    _current: list[Tensor] | None = None
    """The module's own weights while it holds the averages: during a validation, and after the end of training."""

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._average_model, self._current = None, None  # the module has no weights yet

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_fit_start(trainer, pl_module)
        if self._average_model is None:
            self._average_model = self._begin(pl_module)
        self._average_model.to(self._device or pl_module.device)  # a checkpoint is loaded before the module is moved

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._average_model is not None and not self._average_model.n_averaged:
            rank_zero_warn(
                f"trainer.callbacks: {type(self).__name__} has averaged no weights, so they stay as trained; it begins "
                "too late, or its steps fall between those that it sees, one per batch"
            )
        super().on_train_end(trainer, pl_module)

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self._current is not None:  # a validation was interrupted
            self._swap_models(pl_module)

    @override
    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self._average_model is None:
            return
        state, averages = checkpoint["state_dict"], self._averages()
        indices = {name: index for name, index in _trained(pl_module).items() if name in state}
        checkpoint["current_model_state"] = {
            name: state[name] if self._current is None else self._current[index] for name, index in indices.items()
        }
        checkpoint["averaging_state"] = {"n_averaged": self._average_model.n_averaged}
        if averages:
            checkpoint["state_dict"] = {**state, **{name: averages[index] for name, index in indices.items()}}

    @override
    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn != "fit":
            return  # the averages are the weights to evaluate
        self._average_model = self._begin(pl_module)
        if "averaging_state" not in checkpoint:
            rank_zero_warn(
                f"trainer.callbacks: the checkpoint was written without {type(self).__name__}: averages start again"
            )
            return
        self._average_model.n_averaged.copy_(checkpoint["averaging_state"]["n_averaged"])
        averages, weights = list(self._average_model.module.parameters()), _weights(pl_module)
        with torch.no_grad():
            for name, index in _trained(pl_module).items():
                if name in checkpoint["current_model_state"]:
                    averages[index].copy_(checkpoint["state_dict"][name])
                    weights[index].copy_(checkpoint["current_model_state"][name])
        _announce(pl_module)

    @override
    def _swap_models(self, pl_module: LightningModule) -> None:
        if self._current is None:
            self._copy_average_to_current(pl_module)
        else:
            _copy(self._current, pl_module)
            self._current = None

    @override
    def _copy_average_to_current(self, pl_module: LightningModule) -> None:
        self._current = [weight.detach().clone() for weight in _weights(pl_module)]
        _copy(self._averages(), pl_module)

    def _averages(self) -> list[Tensor]:
        """Return the averages; none before the first update, as they would equal the initial weights."""
        if self._average_model is None or not self._average_model.n_averaged:
            return []
        return [weight.detach() for weight in self._average_model.module.parameters()]

    def _begin(self, pl_module: LightningModule) -> AveragedModel:
        return _Averages(_Weights(pl_module), device=self._device or pl_module.device, **self._kwargs)


class _Weights(nn.Module):
    """The trained weights of a module, in float32 at least."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        wide = [weight.detach().float() if weight.element_size() < 4 else weight for weight in _weights(module)]
        self.weights = nn.ParameterList(wide)


class _Averages(AveragedModel):
    @override
    def update_parameters(self, model: nn.Module) -> None:
        super().update_parameters(_Weights(model))


def _weights(module: nn.Module) -> list[nn.Parameter]:
    return [weight for weight in module.parameters() if weight.requires_grad]


def _trained(module: nn.Module) -> dict[str, int]:
    """Return the index of the weight of each name, for trained weights; a tied weight has several names."""
    indices = {id(weight): index for index, weight in enumerate(_weights(module))}
    named = module.named_parameters(remove_duplicate=False)
    return {name: indices[id(weight)] for name, weight in named if id(weight) in indices}


@torch.no_grad()
def _copy(values: list[Tensor], module: nn.Module) -> None:
    for weight, value in zip(_weights(module), values, strict=False):  # without averages the weights stay
        weight.copy_(value)
    _announce(module)


def _announce(module: Any) -> None:
    """Notify the policy's engine that the weights have changed."""
    module.policy.weights_changed()
