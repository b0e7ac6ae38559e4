"""Writing a policy's weights: adapters, whole weights, or weights gathered from other ranks."""

from __future__ import annotations

import copy
import json
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lightning_gft.errors import GFTValueError
from lightning_gft.lm.held import held_weights
from lightning_gft.policy.copying import full_precision
from lightning_gft.policy.ends import name_ends, save_ends

if TYPE_CHECKING:
    from lightning_gft.policy.policy import Policy


def save_policy(policy: Policy, path: str | Path, torch_dtype: str | None, merged: PreTrainedModel | None) -> None:
    """Write what :meth:`Policy.save_pretrained` documents; the caller gathers sharded weights."""
    if policy.adapters is not None and merged is None:
        policy.adapters.save_pretrained(path, torch_dtype)
        save_ends(policy.model, policy.end, path)
    else:
        model = policy.model if merged is None else merged
        weights: dict[str, Any] = {}
        if policy.sharding.is_split and merged is None:
            # A state_dict of FSDP holds shards, although the weights are gathered.
            weights["state_dict"] = _in_type(held_weights(model), torch_dtype)
        elif torch_dtype is not None:
            own = copy.deepcopy(model) if merged is None else merged  # a merged model has no other use
            model = own.to(getattr(torch, torch_dtype))
        with name_ends(model, policy.end):
            model.save_pretrained(path, **weights)
    _follow_umask(Path(path))
    save_tokenizer(policy.tokenizer, path)


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, path: str | Path) -> None:
    """Write a tokenizer with its original length limit, which loading replaced by the model's window."""
    own = copy.copy(tokenizer)
    own.model_max_length = own.init_kwargs.get("model_max_length", own.model_max_length)
    own.save_pretrained(path)


def save_plain(policy: Policy, path: str | Path, torch_dtype: str | None, with_adapters: bool) -> None:
    """Write what :meth:`Policy.save_plain` documents; the caller gathers sharded weights."""
    model = policy.model
    if policy.adapters is not None:
        if policy.is_quantised or policy.sharding.is_split:
            why = "quantised" if policy.is_quantised else "sharded"
            raise GFTValueError(
                f"`save_plain`: expected adapters on whole weights that are not quantised, got {why} ones; write the "
                "adapters by save_pretrained"
            )
        copied = full_precision(policy.adapters)
        model = copied.merge() if with_adapters else copied.peft_model.unload()
        torch_dtype = torch_dtype or str(policy.model.dtype).removeprefix("torch.")
    with name_ends(model, policy.end), _untied(model) as weights:
        model.save_pretrained(path, state_dict=_in_type(weights, torch_dtype))
    if torch_dtype is not None:  # otherwise the configuration names the data type in memory
        config = Path(path) / "config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), "dtype": torch_dtype}, indent=2))
    _follow_umask(Path(path))
    save_tokenizer(policy.tokenizer, path)


def _follow_umask(folder: Path) -> None:
    """Give the weights in a folder the permissions of any new file; safetensors writes them for their owner alone."""
    new = folder / ".new-file"  # the umask itself cannot be read without changing it, for all threads
    new.touch()
    mode = stat.S_IMODE(new.stat().st_mode)
    new.unlink()
    for file in folder.glob("*.safetensors"):
        if stat.S_IMODE(file.stat().st_mode) != mode:
            file.chmod(mode)


@contextmanager
def _untied(model: PreTrainedModel) -> Iterator[dict[str, Tensor]]:
    """Yield a model's weights, a tensor per name; within this context its configuration ties none of them.

    A program that reloads weights may hold its own copy of a head that is tied to the embedding, and not renew it.
    """
    weights = held_weights(model)
    configs = {id(config): config for config in (model.config, model.config.get_text_config())}.values()
    tied = [config for config in configs if getattr(config, "tie_word_embeddings", False)]
    head = model.get_output_embeddings()
    if tied and head is not None:
        name = next(name for name, module in model.named_modules(remove_duplicate=False) if module is head)
        weights[f"{name}.weight"] = weights[f"{name}.weight"].clone()
    for config in tied:
        config.tie_word_embeddings = False
    try:
        yield weights
    finally:
        for config in tied:
            config.tie_word_embeddings = True


def _in_type(weights: dict[str, Tensor], torch_dtype: str | None) -> dict[str, Tensor]:
    if torch_dtype is None:
        return weights
    dtype = getattr(torch, torch_dtype)  # on the CPU, because a GPU may lack memory for a second model
    return {name: value.to("cpu", dtype) if value.is_floating_point() else value for name, value in weights.items()}
