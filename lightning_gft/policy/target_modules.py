"""Which modules of a model take adapters, and clear errors for names and patterns that do not fit."""

from __future__ import annotations

import difflib
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence

from torch import Tensor, nn
from transformers import PreTrainedModel

from lightning_gft.errors import GFTValueError

_PATTERN_SECONDS = 10.0
"""More than a busy machine takes to start Python and match a sane pattern."""

_MATCH = """
import json, re, sys
pattern, names = json.load(sys.stdin)
json.dump([name for name in names if re.fullmatch(pattern, name)], sys.stdout)
"""

_NAMED_BY_PEFT = ("embed_tokens", "lm_head")
"""Matched against a pattern whatever the model has."""


def check_modules(model: PreTrainedModel, targets: str | Sequence[str], saved: Sequence[str]) -> list[nn.Module]:
    """Return the modules that low-rank adapters go into; refuse those that a model lacks or that cannot be trained.

    Args:
        model: A causal language model, without adapters.
        targets: Modules that get an adapter, as :class:`~lightning_gft.LoRA` takes them.
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

    Args:
        pattern: Modules that get an adapter.

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


def matching(pattern: str, names: Sequence[str]) -> list[str]:
    """Return the names that a regular expression matches whole, within a limit of time.

    ``re``, with which peft matches, cannot be interrupted, and some expressions take it longer than the age of the
    universe. So they are tried in a process of their own, which can be ended. Another library's limit would not do:
    it may be quick where ``re`` is not.

    Args:
        pattern: Regular expression.
        names: To match.

    Raises:
        ValueError: If that takes too long.

    Example:
        >>> matching(r".*[.](q|v)_proj", ["layers.0.q_proj", "layers.0.k_proj"])
        ['layers.0.q_proj']
    """
    try:
        done = subprocess.run(  # noqa: S603 (this interpreter, with a fixed program)
            [sys.executable, "-I", "-S", "-c", _MATCH],
            input=json.dumps([pattern, list(names)]),
            capture_output=True,
            text=True,
            check=True,
            timeout=_PATTERN_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise GFTValueError(
            f"lora.target_modules: expected a regular expression that is matched quickly, got {pattern!r}, which took "
            f"over {_PATTERN_SECONDS:.0f} seconds; repetitions within repetitions, as in (a+)+, do that: give the "
            "names as a list, [q_proj, v_proj]"
        ) from None
    matched: list[str] = json.loads(done.stdout)
    return matched


def _targeted(model: PreTrainedModel, targets: str | Sequence[str]) -> list[tuple[str, nn.Module]]:
    if not isinstance(targets, str):
        _check_names(model, "target_modules", targets)
        return [named for name in targets for named in named_modules(model, name)]
    if targets.lower() == "all-linear":
        return []
    modules = {path: module for path, module in model.named_modules() if path}
    matched = [name for name in matching(targets, [*modules, *_NAMED_BY_PEFT]) if name in modules]
    if not matched:
        words = re.findall(r"\w+", re.sub(r"\\.", " ", targets))
        raise GFTValueError(
            f"lora.target_modules: expected a regular expression over the whole path of a module, such as "
            rf"'.*\.q_proj', got {targets!r}, which matches none of {type(model).__name__}"
            f"{_did_you_mean(words, model)}; names are given as a list, [q_proj]"
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
            f"{_did_you_mean(missing, model)}; use some of {_listed(_leaves(model))}"
        )


def named_modules(model: PreTrainedModel, name: str) -> Iterator[tuple[str, nn.Module]]:
    """Return paths and modules of a name, as peft matches it: the end of the path, from a dot on.

    Args:
        model: A causal language model.
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


def _did_you_mean(words: Iterable[str], model: PreTrainedModel) -> str:
    known = sorted(_leaves(model))
    close = dict.fromkeys(name for word in words for name in difflib.get_close_matches(word, known, n=1))
    return f" (did you mean {', '.join(close)}?)" if close else ""


def _is_quantised(module: nn.Module) -> bool:
    # Packed weights may bear the name of a floating type.
    return any(hasattr(weight, "quant_state") or not weight.is_floating_point() for weight in module.parameters())
