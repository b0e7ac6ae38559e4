"""Reading an adapter's configuration and checking that the adapter fits a model."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import hf_hub_download
from lightning.pytorch.utilities import rank_zero_warn
from transformers import PreTrainedModel

from lightning_gft.checks import with_value
from lightning_gft.errors import GFTValueError
from lightning_gft.hub import check_local, hub_or_cache, may_be_folder, no_such_folder
from lightning_gft.policy.adapter_modules import are_tied, names_an_embedding
from lightning_gft.policy.files import damaged_files, summarise

if TYPE_CHECKING:
    from peft import PeftConfig

    from lightning_gft.policy.adapters import LoRA

_CONFIG = "adapter_config.json"
_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")


def check_adapter_folder(path: str) -> None:
    """Check that a path is an adapter's folder, or the name of an adapter on the hub or in its cache.

    Raises:
        ValueError: If it is neither, a file, or a folder without a complete adapter.
    """
    folder, where = Path(path), with_value("lora.adapter_path", path)
    check_local(path, where)
    if not os.path.exists(path):  # noqa: PTH110  # false for a name that is too long
        _find_on_hub(path, where)
        return
    if not folder.is_dir():
        raise GFTValueError(f"{where}: expected a folder, got a file; give the folder that holds it")
    if not (folder / _CONFIG).is_file():
        raise GFTValueError(
            f"{where}: expected an adapter, got a folder that holds no {_CONFIG}; give a folder that peft wrote"
        )
    if not any((folder / name).is_file() for name in _WEIGHTS):
        raise GFTValueError(
            f"{where}: expected an adapter, got a folder that holds no {_WEIGHTS[0]}; download or copy it again"
        )
    if damaged := damaged_files(folder):
        raise GFTValueError(
            f"{where}: expected files that can be read, got {', '.join(damaged)}, damaged; download or copy it again"
        )


def _find_on_hub(path: str, where: str) -> None:
    with hub_or_cache() as offline:
        try:
            hf_hub_download(path, _CONFIG)
        except (OSError, ValueError) as error:  # those of huggingface_hub and of its HTTP client
            reason = offline or summarise(error).rstrip(".")
            if may_be_folder(path):
                raise no_such_folder(path, where, reason) from error
            raise GFTValueError(
                f"{where}: expected the folder of an adapter, or its name on the hub, got neither ({reason}); correct "
                "the name"
            ) from error


def read_adapter_config(path: str, model: PreTrainedModel) -> PeftConfig:
    """Return the configuration of a low-rank adapter, with ``model`` as its base model.

    Args:
        path: Folder or hub name of the adapter.
        model: Model to put the adapter into; a warning is logged if the adapter was trained with another one.

    Raises:
        ValueError: If the adapter is not a low-rank one.
    """
    from peft import PeftConfig

    config: PeftConfig = PeftConfig.from_pretrained(path)
    if config.peft_type != "LORA":
        raise GFTValueError(f"expected an adapter of type LORA, got {config.peft_type}")
    before, now = config.base_model_name_or_path, model.name_or_path or None
    if before and now and not _is_same_model(before, now):
        rank_zero_warn(
            f"lora.adapter_path={path!r} was trained with the model {before!r}, and model_name_or_path={now!r} is "
            "another one by its name: unless it is the same model elsewhere, what the adapter has learnt is lost"
        )
    config.base_model_name_or_path = now
    return config


def _is_same_model(first: str, second: str) -> bool:
    """Return whether two names may mean one model: the same folder, or one that was moved or copied from the hub."""
    if Path(first).resolve() == Path(second).resolve():
        return True
    return Path(first).name.lower() == Path(second).name.lower()


def check_agreement(lora: LoRA, stored: dict[str, Any], model: PreTrainedModel) -> None:
    """Check that settings agree with the adapter's own, which would silently replace them.

    Raises:
        ValueError: If a setting that was given differs from the adapter's.
    """
    for field in fields(lora):
        name = {"alpha": "lora_alpha", "dropout": "lora_dropout"}.get(field.name, field.name)
        given = getattr(lora, field.name)
        if name not in stored or given == field.default:
            continue
        if _comparable(given, model) != _comparable(stored[name], model):
            raise GFTValueError(
                f"expected {field.name}={stored[name]!r} as in the adapter, got {given!r}; leave lora.{field.name} out"
            )


def _comparable(value: Any, model: PreTrainedModel) -> Any:
    if not isinstance(value, (list, set)):
        return value
    # With tied embeddings, peft may name the other one.
    tied = are_tied(model)
    return frozenset("embeddings" if tied and names_an_embedding(model, [name]) else name for name in value)
