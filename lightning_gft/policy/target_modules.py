"""Selecting the modules of a model that get adapters, with clear errors for names and patterns that do not fit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from torch import Tensor, nn
from transformers import PreTrainedModel

from lightning_gft.checks import did_you_mean
from lightning_gft.errors import GFTValueError, remedies


def check_modules(model: PreTrainedModel, targets: str | Sequence[str], saved: Sequence[str]) -> list[nn.Module]:
    """Return the modules that low-rank adapters go into, after checking that they exist and can be trained.

    Args:
        model: A causal language model without adapters.
        targets: Names of modules, a regular expression over whole paths, or ``all-linear``.
        saved: Names of modules to train as whole copies.

    Returns:
        The modules that are named one by one; none for ``all-linear``, which leaves the embeddings out.

    Raises:
        ValueError: If no module has a name, it cannot take an adapter, or weights to be trained are quantised.
    """
    targeted = _targeted(model, targets)
    _check_adaptable(model, targeted)
    _check_names(model, "modules_to_save", saved)
    for name in saved:
        if any(_is_quantised(module) for _, module in named_modules(model, name)):
            raise GFTValueError(
                f"`lora.modules_to_save`: expected weights that can be trained, got {name!r}, which is quantised; "
                "leave it out, or leave quantization out"
            )
        if twice := [
            path for path, module in named_modules(model, name) if any(module is other for _, other in targeted)
        ]:
            raise GFTValueError(
                f"`lora`: expected each module in target_modules or in modules_to_save, got {twice[0]} in both; an "
                "adapter and a whole copy of one module exclude each other: leave it out of one of them"
            )
    return [module for _, module in targeted]


def check_pattern(pattern: str) -> None:
    """Check that a text is a regular expression.

    Raises:
        ValueError: If it is not.
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
            f"`lora.target_modules`: expected a regular expression over the whole path of a module, such as "
            rf"'.*\.q_proj', got {targets!r}, which matches none of {type(model).__name__}"
            f"{remedies(meant, 'names are given as a list, [q_proj]')}"
        )
    return [(name, modules[name]) for name in matched]


def _check_adaptable(model: PreTrainedModel, targeted: Sequence[tuple[str, nn.Module]]) -> None:
    unfit = [(path, module) for path, module in targeted if not _is_adaptable(module)]
    if unfit:
        path, module = unfit[0]
        raise GFTValueError(
            f"`lora.target_modules`: expected linear layers or embeddings, got {path}, a {type(module).__name__}"
            f"{f' (and {len(unfit) - 1} more)' if unfit[1:] else ''}; those that take an adapter are "
            f"{_listed(_adaptable(model))}"
        )


def _is_adaptable(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and weight.dim() > 1  # containers have no weight, norms have vectors


def _check_names(model: PreTrainedModel, field: str, names: Sequence[str]) -> None:
    missing = [name for name in names if not any(named_modules(model, name))]
    if missing:
        raise GFTValueError(
            f"`lora.{field}`: expected modules of {type(model).__name__}, got {', '.join(map(repr, missing))}"
            + remedies(did_you_mean(missing[0], _leaves(model)), f"use some of {_listed(_leaves(model))}")
        )


def named_modules(model: PreTrainedModel, name: str) -> Iterator[tuple[str, nn.Module]]:
    """Return the paths and modules that match a name as peft does: at the end of the path, after a dot.

    Args:
        model: A causal language model.
        name: End of a path, such as ``q_proj`` or ``self_attn.q_proj``.
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
    # Packed weights may have a floating-point data type.
    return any(hasattr(weight, "quant_state") or not weight.is_floating_point() for weight in module.parameters())
