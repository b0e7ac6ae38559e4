"""How adapters affect a model's modules: ranks that are too high, and embeddings that share a weight."""

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
"""Methods of a transformers model that return its embeddings."""


def warn_of_rank(model: PreTrainedModel, config: PeftConfig) -> None:
    """Warn if the adapters' rank exceeds the largest possible rank of some of the adapted weights."""
    from peft.tuners.lora import LoraLayer

    rank: int = getattr(config, "r", 0)
    layers: list[Any] = [module for module in model.modules() if isinstance(module, LoraLayer)]
    sides = [min(layer.in_features, layer.out_features) for layer in layers]
    narrow = [side for side in sides if side < rank]
    if narrow:
        rank_zero_warn(
            f"lora.r={rank} exceeds the largest possible rank of {len(narrow)} of {len(sides)} adapted weights, "
            f"{min(narrow)} for the smallest: the excess takes memory and learns nothing"
        )


def are_tied(model: PreTrainedModel) -> bool:
    """Return whether input and output embeddings are one weight."""
    first, last = map(_own_layer, _embeddings(model))
    return first is not None and last is not None and first.weight is last.weight


def is_embedding(model: PreTrainedModel, modules: Iterable[nn.Module]) -> bool:
    """Return whether the input or the output embedding is among some modules."""
    return any(module is embedding for module in modules for embedding in _embeddings(model))


def names_an_embedding(model: PreTrainedModel, names: Sequence[str]) -> bool:
    """Return whether an input or output embedding is among the named modules.

    Args:
        model: A causal language model.
        names: Names of modules, matched at the end of the path as peft does.
    """
    return is_embedding(model, (module for name in names for _, module in named_modules(model, name)))


def check_tied_embeddings(model: PreTrainedModel) -> None:
    """Check that tied embeddings are both trained as copies or neither, and report low-rank adapters on one of them.

    Raises:
        ValueError: If one of them trains as a copy and the other does not train.
    """
    if not model.config.get_text_config().tie_word_embeddings:
        return
    first, last = _embeddings(model)
    if is_adapted(first) or is_adapted(last):
        which = " and ".join(("its input", "its output")[n] for n, one in enumerate((first, last)) if is_adapted(one))
        rank_zero_info(
            f"`lora`: {type(model).__name__} ties its input and output embeddings; the adapter changes {which} "
            "embedding alone, so a merged export has a weight for each (tie_word_embeddings: false)"
        )
    elif _trains(first) != _trains(last):
        raise GFTValueError(
            f"`lora`: expected both or none of the tied embeddings of {type(model).__name__} to be trained, got one; "
            "leave embeddings out of lora.modules_to_save, or name one in lora.target_modules instead"
        )


def untie_adapted(model: PreTrainedModel) -> None:
    """Give the output embedding a weight of its own if merging a low-rank adapter would change a shared one."""
    first, last = _embeddings(model)
    if not are_tied(model) or not (is_adapted(first) or is_adapted(last)):
        return
    head = _own_layer(last)
    head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=False)
    for config in (model.config, model.config.get_text_config()):
        config.tie_word_embeddings = False


def resolve_targets(model: PreTrainedModel, config: Any) -> None:
    """Check a pattern of target modules, and replace peft's tying of low-rank adapters by two separate adapters.

    Peft would make tied adapters views of one memory.

    Args:
        model: The model that the adapter is loaded into.
        config: Configuration of a stored adapter, which is changed in place.

    Raises:
        ValueError: If a pattern is not a regular expression.
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
    """Return whether a module has a low-rank adapter."""
    return hasattr(module, "base_layer")


def _embeddings(model: PreTrainedModel) -> list[Any]:
    return [getattr(model, getter)() for getter in EMBEDDINGS]


def _own_layer(module: Any) -> Any:
    """Return the layer that adapters or a trained copy have wrapped."""
    return getattr(module, "base_layer", getattr(module, "original_module", module))


def _trains(module: nn.Module | None) -> bool:
    return module is not None and any(parameter.requires_grad for parameter in module.parameters())
