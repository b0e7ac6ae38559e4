"""Reading what an adapter says of itself, and whether it belongs to a model."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch.utilities import rank_zero_warn
from transformers import PreTrainedModel

from lightning_gft.errors import GFTValueError
from lightning_gft.policy.adapter_modules import are_tied, names_an_embedding
from lightning_gft.policy.files import damaged_files, is_no_hub_name

if TYPE_CHECKING:
    from peft import PeftConfig

    from lightning_gft.policy.adapters import LoRA

_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")


def check_adapter_folder(path: str) -> None:
    """Refuse a folder that is not there or holds no adapter, before anyone looks for it on the hub.

    Raises:
        ValueError: If it is a folder without an adapter.
    """
    folder, where = Path(path), f"lora.adapter_path={path!r}"
    if not folder.exists() and is_no_hub_name(path):
        raise GFTValueError(f"{where}: there is no such folder")
    if not folder.is_dir():
        return
    if not (folder / "adapter_config.json").is_file():
        raise GFTValueError(f"{where} holds no adapter_config.json, so it is no adapter; give a folder that peft wrote")
    if not any((folder / name).is_file() for name in _WEIGHTS):
        raise GFTValueError(f"{where} holds no {_WEIGHTS[0]}; download or copy it again")
    if damaged := damaged_files(folder):
        raise GFTValueError(f"{where}: {', '.join(damaged)} is damaged; download or copy it again")


def read_adapter_config(path: str, model: PreTrainedModel) -> PeftConfig:
    """Return the configuration of a low-rank adapter, from now on one of this model's.

    Args:
        model: What the adapter shall go into; another one than it was trained with is warned of.

    Raises:
        ValueError: If it is an adapter of another type.
    """
    from peft import PeftConfig

    config: PeftConfig = PeftConfig.from_pretrained(path)
    if config.peft_type != "LORA":
        raise GFTValueError(f"it is of type {config.peft_type}")
    before, now = config.base_model_name_or_path, model.name_or_path or None
    if before and now and not _is_same_model(before, now):
        rank_zero_warn(
            f"lora.adapter_path={path!r} was trained with the model {before!r}, and model_name_or_path={now!r} is "
            "another one by its name: unless that is the same model elsewhere, what it has learnt is lost"
        )
    config.base_model_name_or_path = now
    return config


def _is_same_model(first: str, second: str) -> bool:
    """Tell whether two names may mean one model: the same folder, or one that was moved or copied from the hub."""
    if Path(first).resolve() == Path(second).resolve():
        return True
    return Path(first).name.lower() == Path(second).name.lower()


def check_agreement(lora: LoRA, stored: dict[str, Any], model: PreTrainedModel) -> None:
    """Refuse settings that the adapter's own would silently replace.

    Raises:
        ValueError: If they differ.
    """
    for field in fields(lora):
        name = {"alpha": "lora_alpha", "dropout": "lora_dropout"}.get(field.name, field.name)
        given = getattr(lora, field.name)
        if name not in stored or given == field.default:
            continue
        if _comparable(given, model) != _comparable(stored[name], model):
            raise GFTValueError(f"it has {field.name}={stored[name]!r}, not {given!r}; leave lora.{field.name} out")


def _comparable(value: Any, model: PreTrainedModel) -> Any:
    if not isinstance(value, (list, set)):
        return value
    # Peft may name the other one of two tied embeddings.
    tied = are_tied(model)
    return frozenset("embeddings" if tied and names_an_embedding(model, [name]) else name for name in value)
