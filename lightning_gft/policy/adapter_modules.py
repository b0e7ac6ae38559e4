"""What adapters do to a model's modules: ranks that its weights cannot have, and embeddings that share a weight."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import nn
from transformers import PreTrainedModel

from lightning_gft.errors import GFTValueError
from lightning_gft.policy.target_modules import check_pattern, named_modules

if TYPE_CHECKING:
    from peft import PeftConfig

EMBEDDINGS = ("get_input_embeddings", "get_output_embeddings")
"""How a model names them."""


def warn_of_rank(model: PreTrainedModel, config: PeftConfig) -> None:
    """Warn of a rank that some of the adapted weights cannot have."""
    from peft.tuners.lora import LoraLayer

    rank: int = getattr(config, "r", 0)
    layers: list[Any] = [module for module in model.modules() if isinstance(module, LoraLayer)]
    sides = [min(layer.in_features, layer.out_features) for layer in layers]
    narrow = [side for side in sides if side < rank]
    if narrow:
        rank_zero_warn(
            f"lora.r={rank} is more than the rank that {len(narrow)} of {len(sides)} adapted weights can have, "
            f"{min(narrow)} for the smallest: what is above it takes memory and learns nothing"
        )


def are_tied(model: PreTrainedModel) -> bool:
    """Tell whether input and output embeddings are one weight."""
    first, last = map(_own_layer, _embeddings(model))
    return first is not None and last is not None and first.weight is last.weight


def is_embedding(model: PreTrainedModel, modules: Iterable[nn.Module]) -> bool:
    """Tell whether the input or the output embedding is among some modules."""
    return any(module is embedding for module in modules for embedding in _embeddings(model))


def names_an_embedding(model: PreTrainedModel, names: Sequence[str]) -> bool:
    """Tell whether an input or output embedding is among the named modules.

    Args:
        names: Names of modules, as peft matches them.
    """
    return is_embedding(model, (module for name in names for _, module in named_modules(model, name)))


def check_tied_embeddings(model: PreTrainedModel) -> None:
    """Refuse to train a whole copy of one of two modules that share a weight, and tell of low-rank adapters on one.

    Raises:
        ValueError: If one of them trains as a copy and the other does not train.
    """
    if not model.config.get_text_config().tie_word_embeddings:
        return
    first, last = _embeddings(model)
    if is_adapted(first) or is_adapted(last):
        which = " and ".join(("its input", "its output")[n] for n, one in enumerate((first, last)) if is_adapted(one))
        rank_zero_info(
            f"lora: {type(model).__name__} ties its input and output embeddings; the adapter changes {which} embedding "
            "alone, so a merged export has a weight for each (tie_word_embeddings: false)"
        )
    elif _trains(first) != _trains(last):
        raise GFTValueError(
            f"lora: {type(model).__name__} ties its input and output embeddings, and only one of them would be "
            "trained; leave embeddings out of lora.modules_to_save, or name one in lora.target_modules instead"
        )


def untie_adapted(model: PreTrainedModel) -> None:
    """Give an output embedding a weight of its own where a low-rank adapter would be merged into a shared one."""
    first, last = _embeddings(model)
    if not are_tied(model) or not (is_adapted(first) or is_adapted(last)):
        return
    head = _own_layer(last)
    head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=False)
    for config in (model.config, model.config.get_text_config()):
        config.tie_word_embeddings = False


def resolve_targets(model: PreTrainedModel, config: Any) -> None:
    """Refuse what is no pattern, and let tied low-rank adapters be two, which peft would make views.

    Args:
        config: That of a stored adapter; changed in place.

    Raises:
        ValueError: If a pattern is no regular expression, or matching takes too long.
    """
    targets, saved = config.target_modules, config.modules_to_save or []
    if isinstance(targets, str) and targets.lower() != "all-linear":
        check_pattern(targets)
    if not config.ensure_weight_tying or names_an_embedding(model, saved):
        return
    config.ensure_weight_tying = False
    head = model.get_output_embeddings()
    if head is not None:
        path = next(path for path, module in model.named_modules() if module is head)
        config.target_modules = f"(?:{targets})|{re.escape(path)}" if isinstance(targets, str) else {*targets, path}


def is_adapted(module: nn.Module | None) -> bool:
    """Tell whether a module has a low-rank adapter."""
    return hasattr(module, "base_layer")


def _embeddings(model: PreTrainedModel) -> list[Any]:
    return [getattr(model, getter)() for getter in EMBEDDINGS]


def _own_layer(module: Any) -> Any:
    """Return the layer that a model had before adapters or a copy were put around it."""
    return getattr(module, "base_layer", getattr(module, "original_module", module))


def _trains(module: nn.Module | None) -> bool:
    return module is not None and any(parameter.requires_grad for parameter in module.parameters())
