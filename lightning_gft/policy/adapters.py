"""Low-rank adapters in a frozen model, through peft."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel

from lightning_gft.checks import check_count, check_number
from lightning_gft.errors import GFTValueError
from lightning_gft.extras import require
from lightning_gft.policy.adapter_files import check_adapter_folder, check_agreement, read_adapter_config
from lightning_gft.policy.adapter_modules import (
    EMBEDDINGS,
    are_tied,
    check_tied_embeddings,
    is_embedding,
    names_an_embedding,
    resolve_targets,
    untie_adapted,
    warn_of_rank,
)
from lightning_gft.policy.files import in_a_line
from lightning_gft.policy.target_modules import check_modules, check_pattern

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel

_TRAINED, _REFERENCE, _OTHER = "default", "reference", "other"


@dataclass(frozen=True)
class LoRA:
    r"""Low-rank adapters: they train, and the model that they are added to does not.

    Args:
        r: Rank.
        alpha: An adapter's output is scaled by ``alpha / r``.
        dropout: On an adapter's input while training. With any, training sees another policy than the one that drew
            the samples; ``sampling/logprob_difference`` tells how far apart they are.
        target_modules: Modules that get an adapter: ``all-linear`` (all but the head), names, or a regular expression
            over the whole path, such as ``.*\.(q|v)_proj``.
        use_rslora: Scale by ``alpha / sqrt(r)`` instead.
        use_dora: Train the magnitude of each adapted weight's columns too; not on weights of 8 bits.
        modules_to_save: Names of modules to train whole, a copy of each, in the model's data type. Tied embeddings stay
            tied; an adapter on one of them (``target_modules``) changes that one alone.
        adapter_path: Folder or hub name of an adapter to continue from. Its own configuration counts: a field given
            here must agree with it, and one at its default is taken from there.

    Raises:
        TypeError: If a number is none.
        ValueError: If a number is out of range, or ``target_modules`` is empty or no regular expression.
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
        checked = {
            "r": check_count("lora.r", self.r),
            "alpha": check_number("lora.alpha", self.alpha, above=0, remedy="at 0 an adapter does nothing"),
            "dropout": check_number("lora.dropout", self.dropout, least=0, below=1),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        if not self.target_modules:
            raise GFTValueError(
                f"lora.target_modules={self.target_modules!r} names no module; leave it out for all-linear"
            )
        if isinstance(self.target_modules, str):
            check_pattern(self.target_modules)


class Adapters:
    """The adapters in a model. The model stays what it is: its own layers hold them.

    Without adapters the model is the policy as it was loaded, so a reference costs no copy of it. A run that continues
    from an existing adapter started from that one, so its reference is a frozen second adapter.

    Args:
        model: A causal language model; it is frozen, and adapters are put into its layers.
        keep_reference: Whether to keep what :meth:`as_loaded` needs.

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
        self._model = model
        self._continues = lora.adapter_path is not None
        self.peft_model = _load(model, lora) if self._continues else _add(model, lora)
        if lora.adapter_path is not None and keep_reference:
            _add_frozen(model, self.peft_model, lora.adapter_path, _REFERENCE)
        check_tied_embeddings(model)
        warn_of_rank(model, self.peft_model.peft_config[_TRAINED])
        _keep_wide(model)

    @property
    def model(self) -> PreTrainedModel:
        """The model whose layers hold the adapters."""
        return self._model

    @property
    def identity(self) -> str:
        """What decides how the weights of an adapter act, in words."""
        config: Any = self.peft_model.peft_config[_TRAINED]
        scale = f"r={config.r}, alpha={config.lora_alpha}, use_rslora={config.use_rslora}, use_dora={config.use_dora}"
        return scale + (", begun from an adapter" if self._continues else "")

    @property
    def keeps_reference(self) -> bool:
        """Whether :meth:`as_loaded` is possible."""
        return not self._continues or _REFERENCE in self.peft_model.peft_config

    @contextmanager
    def as_loaded(self) -> Iterator[None]:
        """Within this context the model is what it was when it was loaded, if :attr:`keeps_reference`."""
        trains = [(weight, weight.requires_grad) for weight in self._model.parameters()]
        try:
            with self._acting(_REFERENCE) if self._continues else self.peft_model.disable_adapter():
                yield
        finally:
            for weight, requires_grad in trains:  # peft lets all that it has switched on train
                weight.requires_grad_(requires_grad)

    @contextmanager
    def with_adapter(self, path: str | Path) -> Iterator[None]:
        """Within this context the model has another adapter instead of the one that trains.

        Args:
            path: Folder of an adapter for the same model.
        """
        _add_frozen(self._model, self.peft_model, str(path), _OTHER)
        _keep_wide(self._model)
        try:
            with self._acting(_OTHER):
                yield
        finally:
            self.peft_model.delete_adapter(_OTHER)

    @contextmanager
    def _acting(self, name: str) -> Iterator[None]:
        self.peft_model.set_adapter(name, inference_mode=True)
        try:
            yield
        finally:
            self.peft_model.set_adapter(_TRAINED)

    def merge(self) -> PreTrainedModel:
        """Add the adapters to the model's weights and take them out of it; return the model.

        Embeddings that share a weight, of which one has an adapter, come apart: so they were used while training.
        """
        untie_adapted(self._model)
        merged: PreTrainedModel = self.peft_model.merge_and_unload()
        return merged

    def save_pretrained(self, path: str | Path, torch_dtype: str | None = None) -> None:
        """Write the adapter, to be loaded with peft.

        Args:
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

    saved = lora.modules_to_save or []
    targeted = check_modules(model, lora.target_modules, saved)
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,  # type: ignore[arg-type] # annotated as an integer, used as a factor
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules if isinstance(lora.target_modules, str) else [*lora.target_modules],
        use_rslora=lora.use_rslora,
        use_dora=lora.use_dora,
        modules_to_save=[*saved] or None,  # a list of its own: peft rewrites it
        # Copies of tied embeddings are one weight. peft would also tie low-rank adapters, as two views of one memory,
        # of which an optimizer takes each for a weight of its own and a move to another device makes two.
        ensure_weight_tying=are_tied(model) and names_an_embedding(model, saved) and not is_embedding(model, targeted),
        task_type="CAUSAL_LM",
    )
    try:
        return _inject(model, config)
    except (ValueError, RuntimeError) as error:
        raise GFTValueError(f"lora: {error}") from error


def _load(model: PreTrainedModel, lora: LoRA) -> PeftModel:
    path = str(lora.adapter_path)
    check_adapter_folder(path)
    try:
        config = read_adapter_config(path, model)
        check_agreement(lora, vars(config), model)
        resolve_targets(model, config)
        config.inference_mode = False
        peft_model = _inject(model, config)
        loaded = peft_model.load_adapter(path, _TRAINED, is_trainable=True)
        if missing := loaded.missing_keys:
            raise GFTValueError(f"it lacks {len(missing)} weights, {missing[0]} for one")
        ignored = [name for name in loaded.unexpected_keys if "lora_" in name]
        if ignored:
            raise GFTValueError(f"the model lacks a module for {len(ignored)} of its weights, {ignored[0]} for one")
    except (MemoryError, torch.OutOfMemoryError):
        raise  # not for what the adapter is
    except Exception as error:
        raise GFTValueError(
            f"lora.adapter_path={path!r} could not be loaded into {type(model).__name__}: {in_a_line(error)}"
        ) from error
    return peft_model


def _inject(model: PreTrainedModel, config: PeftConfig) -> PeftModel:
    from peft import get_peft_model

    with _quiet():
        peft_model = get_peft_model(model, config, adapter_name=_TRAINED)
    base = Path(model.name_or_path or "")
    if model.name_or_path and base.is_dir():  # so that the adapter finds it from anywhere
        config.base_model_name_or_path = str(base.resolve())
    return peft_model


def _add_frozen(model: PreTrainedModel, peft_model: PeftModel, path: str, name: str) -> None:
    from peft import PeftConfig

    training = model.training
    config = PeftConfig.from_pretrained(path)
    resolve_targets(model, config)
    with _quiet():
        peft_model.load_adapter(path, name, is_trainable=False, peft_config=config)
    model.train(training)  # loading what does not train switched all of it to `eval`
    first, last = (getattr(getattr(model, getter)(), "modules_to_save", {}) for getter in EMBEDDINGS)
    if name in first and _TRAINED in last and name not in last:
        # peft ties the first adapter's copies of tied embeddings, but forgets a second one's.
        model.get_output_embeddings().update(name, tied_module=first[name])
    peft_model.set_adapter(_TRAINED)


def _keep_wide(model: PreTrainedModel) -> None:
    """Copies of a tied head are linear layers that peft makes anew; let them compute as the head itself does."""
    head: Any = model.get_output_embeddings()
    for copied in getattr(head, "modules_to_save", {}).values():
        copied.__class__ = type(head.original_module)
