"""The weights that a model holds at the moment."""

from __future__ import annotations

from torch import Tensor, nn


def held_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return a model's current weights by the names of its ``state_dict``, whose hooks are not called."""
    weights = {name: weight.detach() for name, weight in model.named_parameters(remove_duplicate=False)}
    for prefix, module in model.named_modules(remove_duplicate=False):
        for name, value in module.named_buffers(recurse=False):
            if name not in module._non_persistent_buffers_set:
                weights[f"{prefix}.{name}" if prefix else name] = value
    return weights
