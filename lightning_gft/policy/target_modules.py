"""Which modules of a model take adapters, and clear errors for names and patterns that do not fit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from torch import Tensor, nn
from transformers import PreTrainedModel

from lightning_gft.checks import did_you_mean
from lightning_gft.errors import GFTValueError


def check_modules(model: PreTrainedModel, targets: str | Sequence[str], saved: Sequence[str]) -> list[nn.Module]:
    """Return the modules that low-rank adapters go into; refuse those that a model lacks or that cannot be trained.

    Args:
        model: A causal language model, without adapters.
        saved: Names of modules to train whole.

    Returns:
        The modules that are named one by one; none for ``all-linear``, which leaves the embeddings out.

    Raises:
        ValueError: If there are none of that name, they cannot take an adapter, or weights to train are quantised.
    """
    targeted = _targeted(model, targets)
    _check_adaptable(model, targeted)
    _check_names(model, "modules_to_save", saved)
    for name in saved:
        if any(_is_quantised(module) for _, module in named_modules(model, name)):
            raise GFTValueError(
                f"lora.modules_to_save: {name!r} is quantised, and weights of few bits cannot be trained: leave it "
                "out, or leave quantization out"
            )
        if twice := [
            path for path, module in named_modules(model, name) if any(module is other for _, other in targeted)
        ]:
            raise GFTValueError(
                f"lora: {twice[0]} is in target_modules and in modules_to_save; an adapter and a whole copy of one "
                "module exclude each other, so leave it out of one of them"
            )
    return [module for _, module in targeted]


def check_pattern(pattern: str) -> None:
    """Refuse a text that is no regular expression.

    Raises:
        ValueError: If it is none.
    """
    try:
        re.compile(pattern)
    except re.error as error:
        raise GFTValueError(
            f"`lora.target_modules`: expected a regular expression, got {pattern!r} ({error}); give names as a list, "
            "[q_proj, v_proj]"
        ) from error


def _targeted(model: PreTrainedModel, targets: str | Sequence[str]) -> list[tuple[str, nn.Module]]:
    if not isinstance(targets, str):
        _check_names(model, "target_modules", targets)
        return [named for name in targets for named in named_modules(model, name)]
    if targets.lower() == "all-linear":
        return []
    modules = {path: module for path, module in model.named_modules() if path}
    matched = [name for name in modules if re.fullmatch(targets, name)]
    if not matched:
        words = re.findall(r"\w+", re.sub(r"\\.", " ", targets))
        meant = next(filter(None, (did_you_mean(word, _leaves(model)) for word in words)), "")
        raise GFTValueError(
            f"lora.target_modules: expected a regular expression over the whole path of a module, such as "
            rf"'.*\.q_proj', got {targets!r}, which matches none of {type(model).__name__}"
            f"{meant}; names are given as a list, [q_proj]"
        )
    return [(name, modules[name]) for name in matched]


def _check_adaptable(model: PreTrainedModel, targeted: Sequence[tuple[str, nn.Module]]) -> None:
    unfit = [(path, module) for path, module in targeted if not _is_adaptable(module)]
    if unfit:
        path, module = unfit[0]
        raise GFTValueError(
            f"lora.target_modules: expected linear layers or embeddings, got {path}, a {type(module).__name__}"
            f"{f' (and {len(unfit) - 1} more)' if unfit[1:] else ''}; those that take an adapter are "
            f"{_listed(_adaptable(model))}"
        )


def _is_adaptable(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and weight.dim() > 1  # containers have none, norms have vectors


def _check_names(model: PreTrainedModel, field: str, names: Sequence[str]) -> None:
    missing = [name for name in names if not any(named_modules(model, name))]
    if missing:
        raise GFTValueError(
            f"`lora.{field}`: expected modules of {type(model).__name__}, got {', '.join(map(repr, missing))}"
            f"{did_you_mean(missing[0], _leaves(model))}; use some of {_listed(_leaves(model))}"
        )


def named_modules(model: PreTrainedModel, name: str) -> Iterator[tuple[str, nn.Module]]:
    """Return paths and modules of a name, as peft matches it: the end of the path, from a dot on.

    Args:
        name: Such as ``q_proj`` or ``self_attn.q_proj``.
    """
    return ((path, module) for path, module in model.named_modules() if f".{path}".endswith(f".{name}"))


def _adaptable(model: PreTrainedModel) -> set[str]:
    return {path.rpartition(".")[2] for path, module in model.named_modules() if _is_adaptable(module)}


def _leaves(model: PreTrainedModel) -> set[str]:
    leaves = {path.rpartition(".")[2] for path, module in model.named_modules() if not any(module.children())}
    return leaves - {""}


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _is_quantised(module: nn.Module) -> bool:
    # Packed weights may bear the name of a floating type.
    return any(hasattr(weight, "quant_state") or not weight.is_floating_point() for weight in module.parameters())
