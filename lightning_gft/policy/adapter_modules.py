"""Which modules of a model adapters go into, and refusing those that cannot take any."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lightning.pytorch.utilities import rank_zero_warn
from torch import nn
from transformers import PreTrainedModel

if TYPE_CHECKING:
    from peft import PeftConfig

EMBEDDINGS = ("get_input_embeddings", "get_output_embeddings")
"""How a model names them."""


def check_modules(model: PreTrainedModel, targets: str | Sequence[str], saved: Sequence[str]) -> None:
    """Refuse modules that a model does not have, and such as cannot be trained whole.

    Args:
        model: A causal language model.
        targets: Modules that get an adapter, as :class:`LoRA` takes them.
        saved: Names of modules to train whole.

    Raises:
        ValueError: If there are any.
    """
    if isinstance(targets, str):
        _check_pattern(model, targets)
    else:
        _check_names(model, "target_modules", targets)
    _check_names(model, "modules_to_save", saved)
    for name in saved:
        if any(_is_quantised(module) for module in _named(model, name)):
            raise ValueError(
                f"lora.modules_to_save: {name!r} is quantised, and weights of few bits cannot be trained: leave it "
                "out, or leave quantization out"
            )


def _check_pattern(model: PreTrainedModel, pattern: str) -> None:
    if pattern.lower() == "all-linear" or any(re.fullmatch(pattern, path) for path, _ in model.named_modules()):
        return
    raise ValueError(
        f"lora.target_modules={pattern!r} matches no module of {type(model).__name__}: a text is a regular expression "
        rf"over the whole path of a module, such as '.*\.q_proj', and names are given as a list, [q_proj]; it has "
        f"{_known(model)}"
    )


def _check_names(model: PreTrainedModel, field: str, names: Sequence[str]) -> None:
    missing = [name for name in names if not any(_named(model, name))]
    if missing:
        raise ValueError(
            f"lora.{field}: {type(model).__name__} has no module {', '.join(map(repr, missing))}; it has "
            f"{_known(model)}"
        )


def _named(model: PreTrainedModel, name: str) -> Iterator[nn.Module]:
    return (module for path, module in model.named_modules() if f".{path}".endswith(f".{name}"))


def _known(model: PreTrainedModel) -> str:
    leaves = {path.rpartition(".")[2] for path, module in model.named_modules() if not any(module.children())}
    return ", ".join(sorted(leaves - {""}))


def _is_quantised(module: nn.Module) -> bool:
    # Packed weights may bear the name of a floating type.
    return any(hasattr(weight, "quant_state") or not weight.is_floating_point() for weight in module.parameters())


def warn_of_rank(model: PreTrainedModel, config: PeftConfig) -> None:
    """Warn of a rank that some of the adapted weights cannot have.

    Args:
        model: With adapters.
        config: Theirs.
    """
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
    """Tell whether input and output embeddings are one weight.

    Args:
        model: A causal language model.
    """
    first, last = _embeddings(model)
    return first is not None and last is not None and first.weight is last.weight


def names_an_embedding(model: PreTrainedModel, names: Sequence[str]) -> bool:
    """Tell whether an input or output embedding is among the named modules.

    Args:
        model: A causal language model.
        names: Of modules.
    """
    embeddings = _embeddings(model)
    return any(module is embedding for name in names for module in _named(model, name) for embedding in embeddings)


def check_tied_embeddings(model: PreTrainedModel) -> None:
    """Refuse to train one of two modules that share a weight: nothing could hold both once adapters are merged.

    Args:
        model: With adapters.

    Raises:
        ValueError: If one of them trains and the other does not.
    """
    first, last = _embeddings(model)
    if model.config.get_text_config().tie_word_embeddings and _trains(first) != _trains(last):
        raise ValueError(
            f"lora: {type(model).__name__} ties its input and output embeddings, and only one of them would be "
            "trained; leave embeddings out of lora.target_modules and lora.modules_to_save"
        )


def _embeddings(model: PreTrainedModel) -> list[Any]:
    return [getattr(model, getter)() for getter in EMBEDDINGS]


def _trains(module: nn.Module | None) -> bool:
    return module is not None and any(parameter.requires_grad for parameter in module.parameters())
