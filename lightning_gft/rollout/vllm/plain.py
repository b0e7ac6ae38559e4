"""A policy's weights as those of a plain model, one by one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion

from lightning_gft.errors import GFTValueError
from lightning_gft.lm.held import held_weights
from lightning_gft.rollout.engine import EnginePolicy

_BASE = ".base_layer."


@dataclass(frozen=True)
class PlainWeight:
    """A weight of a plain model.

    Args:
        held: Tensor of the weight's shape and data type: the weight itself, without its adapter.
        value: Returns the weight on the policy's device; adapters are merged into it by this call.
    """

    held: Tensor
    value: Callable[[], Tensor]


def plain_weights(policy: EnginePolicy) -> dict[str, PlainWeight]:
    """Return the weights of a plain model by their names in its files, for a program that already has this model.

    There is never a second model in memory, because adapters are merged where a value is used.

    Args:
        policy: Policy with whole weights; its adapters train no copies of modules.

    Raises:
        ValueError: If the names in files differ from those in memory.
    """
    model = policy.model
    held = held_weights(model)
    plain = {name: PlainWeight(weight, partial(_same, weight)) for name, weight in held.items()}
    if policy.adapters is not None:
        plain = _without_adapters(model, plain)
    _check_names(model, {name: weight.held for name, weight in plain.items()})
    return plain


def _without_adapters(model: nn.Module, weights: dict[str, PlainWeight]) -> dict[str, PlainWeight]:
    """Return the weights under adapters, by the names that they have without them, and merged where they are used."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    adapted = {name: layer for name, layer in model.named_modules() if isinstance(layer, BaseTunerLayer)}
    plain: dict[str, PlainWeight] = {}
    for name, weight in weights.items():
        within, _, parameter = name.partition(_BASE)
        if within in adapted and _adapts(adapted[within], parameter):
            plain[name.replace(_BASE, ".")] = PlainWeight(weight.held, partial(_merged, adapted[within], parameter))
        elif _BASE in name or not any(name.startswith(f"{layer}.") for layer in adapted):
            plain[name.replace(_BASE, ".")] = weight
    return plain


def _adapts(layer: Any, parameter: str) -> bool:
    """Return whether a layer's adapter changes a parameter; peft's ``lora_bias`` changes the bias, too."""
    return parameter == "weight" or (parameter == "bias" and any(getattr(layer, "lora_bias", {}).values()))


def _merged(layer: Any, parameter: str) -> Tensor:
    """Return a layer's parameter with its adapter, added in float32: in half precision a small adapter would vanish."""
    own = copy.deepcopy(layer)
    dtype = own.get_base_layer().weight.dtype
    own.to(torch.promote_types(dtype, torch.float32)).merge()
    merged: Tensor = getattr(own.get_base_layer(), parameter).detach()
    return merged.to(dtype)


def _check_names(model: PreTrainedModel, weights: dict[str, Tensor]) -> None:
    """Check that a model's files have its weights as they are in memory; those of some are joined or renamed."""
    shapes = {name: torch.empty_like(weight, device="meta") for name, weight in weights.items()}
    stored = revert_weight_conversion(model, dict(shapes))
    other = sorted(stored.keys() - shapes.keys())
    if other:
        raise GFTValueError(
            f"`weights` of VLLMEngine: expected ReloadSync or AdapterSync for {type(model).__name__}, whose files name "
            f"{len(other)} weights differently than the model in memory, {other[0]} for one, got one that sends "
            "weights from memory; choose one of these, or leave weights out"
        )


def _same(weight: Tensor) -> Tensor:
    return weight
