"""Low-rank adapters in a frozen model, through peft."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import PreTrainedModel

from lightning_gft.checks import check_count
from lightning_gft.policy.extras import require

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel

_TRAINED, _REFERENCE = "default", "reference"
_EMBEDDINGS = ("get_input_embeddings", "get_output_embeddings")


@dataclass(frozen=True)
class LoRA:
    """Low-rank adapters: they train, and the model that they are added to does not.

    Args:
        r: Rank.
        alpha: An adapter's output is scaled by ``alpha / r``.
        dropout: On an adapter's input while training. With any, training sees another policy than the one that drew
            the samples; ``sampling/logprob_difference`` tells how far apart they are.
        target_modules: Modules that get an adapter: ``all-linear`` (all but the head), a regular expression, or names.
        use_rslora: Scale by ``alpha / sqrt(r)`` instead.
        use_dora: Train the magnitude of each adapted weight's columns too.
        modules_to_save: Names of modules to train whole, a copy of each, in the model's data type. Tied embeddings stay
            tied.
        adapter_path: Folder or hub name of an adapter to go on with; its own configuration replaces all other fields.

    Raises:
        ValueError: If a number is out of range.
        ModuleNotFoundError: If peft is not installed.

    Example:
        >>> LoRA(r=8, alpha=16).target_modules
        'all-linear'
    """

    r: int = 16
    alpha: float = 32
    dropout: float = 0.0
    target_modules: str | list[str] = "all-linear"
    use_rslora: bool = False
    use_dora: bool = False
    modules_to_save: list[str] | None = None
    adapter_path: str | None = None

    def __post_init__(self) -> None:
        require("peft", setting="lora", extra="lora")
        check_count("lora.r", self.r)
        if self.alpha <= 0:
            raise ValueError(f"lora.alpha={self.alpha} must be above 0; at 0 an adapter does nothing")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"lora.dropout={self.dropout} must lie in [0, 1)")


class Adapters:
    """The adapters in a model. The model stays what it is: its own layers hold them.

    Without adapters the model is the policy as it was loaded, so a reference costs no copy of it. A run that goes on
    with an existing adapter started from that one, so its reference is a frozen second adapter.

    Args:
        model: A causal language model; it is frozen, and adapters are put into its layers.
        lora: What they are.
        keep_reference: Whether to keep what :meth:`reference` needs.

    Raises:
        ValueError: If the model has no such modules, or the adapter cannot be loaded into it.

    Example:
        >>> from lightning_gft import ScratchPolicy
        >>> model = ScratchPolicy("abc").load_model()
        >>> adapters = Adapters(model, LoRA(r=2))
        >>> sum(parameter.requires_grad for parameter in model.parameters())  # 4 layers, 7 projections, A and B
        56
    """

    def __init__(self, model: PreTrainedModel, lora: LoRA, keep_reference: bool = False) -> None:
        self._goes_on = lora.adapter_path is not None
        self.peft_model = _load(model, lora) if self._goes_on else _add(model, lora)
        if lora.adapter_path is not None and keep_reference:
            _add_reference(model, self.peft_model, lora.adapter_path)
        _check_tied_embeddings(model)
        _keep_wide(model)

    @property
    def identity(self) -> str:
        """What decides how the weights of an adapter act, in words."""
        config: Any = self.peft_model.peft_config[_TRAINED]
        scale = f"r={config.r}, alpha={config.lora_alpha}, use_rslora={config.use_rslora}, use_dora={config.use_dora}"
        return scale + (", begun from an adapter" if self._goes_on else "")

    @contextmanager
    def reference(self) -> Iterator[None]:
        """Within this context the model is what it was when it was loaded.

        Raises:
            RuntimeError: If it was loaded with an adapter and that one was not kept.
        """
        if not self._goes_on:
            with self.peft_model.disable_adapter():
                yield
            return
        if _REFERENCE not in self.peft_model.peft_config:
            raise RuntimeError("this policy keeps no reference; load it with keep_reference=True")
        self.peft_model.set_adapter(_REFERENCE, inference_mode=True)
        try:
            yield
        finally:
            self.peft_model.set_adapter(_TRAINED)

    def merge(self) -> PreTrainedModel:
        """Add the adapters to the model's weights and take them out of it; return the model."""
        merged: PreTrainedModel = self.peft_model.merge_and_unload()
        return merged

    def save_pretrained(self, path: str | Path, torch_dtype: str | None = None) -> None:
        """Write the adapter, to be loaded with peft.

        Args:
            path: Folder; made if it does not exist.
            torch_dtype: Data type of the written weights; by default their own.
        """
        named = self.peft_model.named_parameters(remove_duplicate=False)
        own = {name: weight.detach() for name, weight in named if f".{_TRAINED}." in f"{name}."}
        if torch_dtype is not None:
            own = {name: weight.to(getattr(torch, torch_dtype)) for name, weight in own.items()}
        # Embeddings are never resized here, and looking for whether they were would ask the hub.
        self.peft_model.save_pretrained(
            str(path), state_dict=own, selected_adapters=[_TRAINED], save_embedding_layers=False
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out peft's advice on what is seen to here, or is its own affair."""
    with warnings.catch_warnings():
        for about in ("is_gradient_checkpointing", "ensure_weight_tying", "fan_in_fan_out"):
            warnings.filterwarnings("ignore", message=f".*{about}.*")
        yield


def _add(model: PreTrainedModel, lora: LoRA) -> PeftModel:
    from peft import LoraConfig

    targets = [] if isinstance(lora.target_modules, str) else lora.target_modules
    saved = lora.modules_to_save or []
    _check_modules(model, "target_modules", targets)
    _check_modules(model, "modules_to_save", saved)
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,  # type: ignore[arg-type] # annotated as an integer, used as a factor
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules,
        use_rslora=lora.use_rslora,
        use_dora=lora.use_dora,
        modules_to_save=lora.modules_to_save,
        ensure_weight_tying=_are_tied(model) and _names_an_embedding(model, [*targets, *saved]),
        task_type="CAUSAL_LM",
    )
    try:
        return _inject(model, config)
    except (ValueError, RuntimeError) as error:  # the latter for whole modules that are quantised
        raise ValueError(f"lora: {error}") from error


def _load(model: PreTrainedModel, lora: LoRA) -> PeftModel:
    from peft import PeftConfig

    path = str(lora.adapter_path)
    try:
        config = PeftConfig.from_pretrained(path)
        if config.peft_type != "LORA":
            raise ValueError(f"it is of type {config.peft_type}")
        _check_agreement(lora, vars(config))
        config.inference_mode = False
        peft_model = _inject(model, config)
        loaded = peft_model.load_adapter(path, _TRAINED, is_trainable=True)
        if missing := loaded.missing_keys:
            raise ValueError(f"it lacks {len(missing)} weights, {missing[0]} for one")
        ignored = [name for name in loaded.unexpected_keys if "lora_" in name]
        if ignored:
            raise ValueError(f"the model has no place for {len(ignored)} of its weights, {ignored[0]} for one")
    except (MemoryError, torch.OutOfMemoryError):
        raise  # not for what the adapter is
    except Exception as error:
        raise ValueError(
            f"lora.adapter_path={path!r} could not be loaded into {type(model).__name__}: {error}"
        ) from error
    return peft_model


def _inject(model: PreTrainedModel, config: PeftConfig) -> PeftModel:
    from peft import get_peft_model

    with _quiet():
        return get_peft_model(model, config, adapter_name=_TRAINED)


def _add_reference(model: PreTrainedModel, peft_model: PeftModel, path: str) -> None:
    training = model.training
    with _quiet():
        peft_model.load_adapter(path, _REFERENCE, is_trainable=False)
    model.train(training)  # loading what does not train switched all of it to evaluation
    first, last = (getattr(getattr(model, getter)(), "modules_to_save", {}) for getter in _EMBEDDINGS)
    if _REFERENCE in first and _TRAINED in last and _REFERENCE not in last:
        # peft ties the first adapter's copies of tied embeddings, but forgets a second one's.
        model.get_output_embeddings().update(_REFERENCE, tied_module=first[_REFERENCE])
    peft_model.set_adapter(_TRAINED)


def _check_agreement(lora: LoRA, stored: dict[str, Any]) -> None:
    """Refuse settings that the adapter's own would silently replace."""
    for field in fields(lora):
        name = {"alpha": "lora_alpha", "dropout": "lora_dropout"}.get(field.name, field.name)
        given = getattr(lora, field.name)
        if name not in stored or given == field.default:
            continue
        if _comparable(given) != _comparable(stored[name]):
            raise ValueError(f"it has {field.name}={stored[name]!r}, not {given!r}; leave lora.{field.name} out")


def _comparable(value: Any) -> Any:
    return frozenset(value) if isinstance(value, (list, set)) else value


def _check_modules(model: PreTrainedModel, field: str, names: Sequence[str]) -> None:
    known = [name for name, _ in model.named_modules()]
    missing = [name for name in names if not any(f".{path}".endswith(f".{name}") for path in known)]
    if missing:
        leaves = {path.rpartition(".")[2] for path, module in model.named_modules() if not any(module.children())}
        raise ValueError(
            f"lora.{field}: {type(model).__name__} has no module {', '.join(map(repr, missing))}; it has "
            f"{', '.join(sorted(leaves - {''}))}"
        )


def _are_tied(model: PreTrainedModel) -> bool:
    first, last = (getattr(model, getter)() for getter in _EMBEDDINGS)
    return first is not None and last is not None and first.weight is last.weight


def _names_an_embedding(model: PreTrainedModel, names: Sequence[str]) -> bool:
    embeddings = [getattr(model, getter)() for getter in _EMBEDDINGS]
    paths = [f".{path}" for path, module in model.named_modules() if any(module is e for e in embeddings)]
    return any(path.endswith(f".{name}") for path in paths for name in names)


def _check_tied_embeddings(model: PreTrainedModel) -> None:
    """Refuse to train one of two modules that share a weight: nothing could hold both once adapters are merged."""
    first, last = (getattr(model, getter)() for getter in _EMBEDDINGS)
    if model.config.get_text_config().tie_word_embeddings and _trains(first) != _trains(last):
        raise ValueError(
            f"lora: {type(model).__name__} ties its input and output embeddings, and only one of them would be "
            "trained; leave embeddings out of lora.target_modules and lora.modules_to_save"
        )


def _trains(module: nn.Module | None) -> bool:
    return module is not None and any(parameter.requires_grad for parameter in module.parameters())


def _keep_wide(model: PreTrainedModel) -> None:
    """Copies of a tied head are linear layers that peft makes anew; let them compute as the head itself does."""
    head: Any = model.get_output_embeddings()
    for copied in getattr(head, "modules_to_save", {}).values():
        copied.__class__ = type(head.original_module)
