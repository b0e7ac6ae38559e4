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

from lightning_gft.checks import check_count, check_number, with_value
from lightning_gft.errors import GFTValueError
from lightning_gft.extras import require
from lightning_gft.hub import expand_home, hub_or_cache
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
from lightning_gft.policy.files import summarise
from lightning_gft.policy.target_modules import check_modules, check_pattern

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel

_TRAINED, _REFERENCE, _OTHER = "default", "reference", "other"


@dataclass(frozen=True)
class LoRA:
    r"""Low-rank adapters, which are trained while the model under them is frozen.

    Args:
        r: Rank of the two factors of an adapter.
        alpha: An adapter's output is scaled by ``alpha / r``.
        dropout: Dropout probability of an adapter's input while training. Above 0, training evaluates another policy
            than the one that sampled; ``sampling/logprob_difference`` reports how far apart they are.
        target_modules: Modules that get an adapter: ``all-linear`` (all but the head), names, or a regular expression
            over the whole path, such as ``.*\.(q|v)_proj``.
        use_rslora: Whether to scale by ``alpha / sqrt(r)`` instead.
        use_dora: Whether to train the magnitude of each adapted weight's columns too; not possible on 8-bit weights.
        modules_to_save: Names of modules to train as whole copies, in the model's data type. Tied embeddings stay
            tied; an adapter on one of them (``target_modules``) changes that one alone.
        adapter_path: Folder or hub name of an adapter to continue from. Its own configuration is used: a field given
            here must agree with it, and a field at its default is taken from there.

    Raises:
        TypeError: If a number is of another type.
        ValueError: If a number is out of range, or ``target_modules`` is empty or not a regular expression.
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
        if self.adapter_path is not None:
            object.__setattr__(self, "adapter_path", expand_home(self.adapter_path))
        if not self.target_modules:
            raise GFTValueError(
                f"`lora.target_modules`: expected at least one module, got {self.target_modules!r}; leave it out for "
                "all-linear"
            )
        if isinstance(self.target_modules, str):
            check_pattern(self.target_modules)


class Adapters:
    """The adapters of a model, whose own layers hold them.

    Without its adapters, the model is the policy as it was loaded, so a reference needs no copy of it. A run that
    continues from an existing adapter started from that adapter, so its reference is a frozen second adapter.

    Args:
        model: A causal language model; it is frozen, and adapters are put into its layers.
        lora: Settings of the adapters, or the path of a stored one.
        keep_reference: Whether to keep what :meth:`as_loaded` needs.

    Raises:
        ValueError: If the model lacks the modules to adapt, or a stored adapter cannot be loaded into it.

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
        """What determines the effect of an adapter's weights, as text."""
        config: Any = self.peft_model.peft_config[_TRAINED]
        scale = f"r={config.r}, alpha={config.lora_alpha}, use_rslora={config.use_rslora}, use_dora={config.use_dora}"
        return scale + (", begun from an adapter" if self._continues else "")

    @property
    def keeps_reference(self) -> bool:
        """Whether :meth:`as_loaded` is possible."""
        return not self._continues or _REFERENCE in self.peft_model.peft_config

    @contextmanager
    def as_loaded(self) -> Iterator[None]:
        """Return the model to its state at loading within this context; requires :attr:`keeps_reference`."""
        trains = [(weight, weight.requires_grad) for weight in self._model.parameters()]
        try:
            with self._acting(_REFERENCE) if self._continues else self.peft_model.disable_adapter():
                yield
        finally:
            for weight, requires_grad in trains:  # peft makes all adapters that it activates trainable
                weight.requires_grad_(requires_grad)

    @contextmanager
    def with_adapter(self, path: str | Path) -> Iterator[None]:
        """Replace the adapter that is trained by another one within this context.

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
        """Merge the adapters into the model's weights, remove them and return the model.

        Tied embeddings are untied if one of them has an adapter, because they differed during training too.
        """
        untie_adapted(self._model)
        merged: PreTrainedModel = self.peft_model.merge_and_unload()
        return merged

    def save_pretrained(self, path: str | Path, torch_dtype: str | None = None) -> None:
        """Write the adapter, to be loaded with peft.

        Args:
            path: Folder to write to; created if it does not exist.
            torch_dtype: Data type of the written weights; by default their own.
        """
        named = self.peft_model.named_parameters(remove_duplicate=False)
        own = {name: weight.detach() for name, weight in named if f".{_TRAINED}." in f"{name}."}
        if torch_dtype is not None:
            own = {name: weight.to(getattr(torch, torch_dtype)) for name, weight in own.items()}
        # Embeddings are never resized here, and peft would query the hub to find out whether they were.
        self.peft_model.save_pretrained(
            str(path), state_dict=own, selected_adapters=[_TRAINED], save_embedding_layers=False
        )


@contextmanager
def _without_advice() -> Iterator[None]:
    """Silence peft's warnings about matters that this package handles or peft itself causes."""
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
        # Copies of tied embeddings are one weight. Peft would also tie low-rank adapters as two views of one memory:
        # an optimizer takes them for two weights, and moving them to another device makes them two.
        ensure_weight_tying=are_tied(model) and names_an_embedding(model, saved) and not is_embedding(model, targeted),
        task_type="CAUSAL_LM",
    )
    try:
        return _inject(model, config)
    except (ValueError, RuntimeError) as error:
        raise GFTValueError(f"`lora`: {error}") from error


def _load(model: PreTrainedModel, lora: LoRA) -> PeftModel:
    path = str(lora.adapter_path)
    check_adapter_folder(path)
    try:
        with hub_or_cache(path):
            config = read_adapter_config(path, model)
            check_agreement(lora, vars(config), model)
            resolve_targets(model, config)
            config.inference_mode = False
            peft_model = _inject(model, config)
            loaded = peft_model.load_adapter(path, _TRAINED, is_trainable=True)
        if missing := loaded.missing_keys:
            raise GFTValueError(
                f"expected weights for every adapted module, got none for {len(missing)}, {missing[0]} for one"
            )
        ignored = [name for name in loaded.unexpected_keys if "lora_" in name]
        if ignored:
            raise GFTValueError(
                f"expected weights that the model has a module for, got {len(ignored)} others, {ignored[0]} for one"
            )
    except (MemoryError, torch.OutOfMemoryError):
        raise  # says nothing about the adapter
    except Exception as error:
        raise GFTValueError(
            f"{with_value('lora.adapter_path', path)}: expected an adapter that can be loaded into "
            f"{type(model).__name__}, got: {summarise(error)}"
        ) from error
    return peft_model


def _inject(model: PreTrainedModel, config: PeftConfig) -> PeftModel:
    from peft import get_peft_model

    with _without_advice():
        peft_model = get_peft_model(model, config, adapter_name=_TRAINED)
    base = Path(model.name_or_path or "")
    if model.name_or_path and base.is_dir():  # absolute, so that the adapter finds it from any working directory
        config.base_model_name_or_path = str(base.resolve())
    return peft_model


def _add_frozen(model: PreTrainedModel, peft_model: PeftModel, path: str, name: str) -> None:
    from peft import PeftConfig

    training = model.training
    config = PeftConfig.from_pretrained(path)
    resolve_targets(model, config)
    with _without_advice():
        peft_model.load_adapter(path, name, is_trainable=False, peft_config=config)
    model.train(training)  # loading a frozen adapter switched the whole model to `eval`
    first, last = (getattr(getattr(model, getter)(), "modules_to_save", {}) for getter in EMBEDDINGS)
    if name in first and _TRAINED in last and name not in last:
        # Peft ties the first adapter's copies of tied embeddings, but not those of a second adapter.
        model.get_output_embeddings().update(name, tied_module=first[name])
    peft_model.set_adapter(_TRAINED)


def _keep_wide(model: PreTrainedModel) -> None:
    """Make copies of a head, which peft builds as plain linear layers, compute in the head's own precision."""
    head: Any = model.get_output_embeddings()
    for copied in getattr(head, "modules_to_save", {}).values():
        copied.__class__ = type(head.original_module)
