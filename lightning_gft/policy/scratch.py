"""A small policy that starts from nothing."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from typing_extensions import override

from lightning_gft.policy.adapters import LoRA
from lightning_gft.policy.loader import PolicyLoader
from lightning_gft.policy.tokenizer import alphabet_tokenizer
from lightning_gft.rollout import RolloutEngine

_SMALL = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}


class ScratchPolicy(PolicyLoader):
    """A small language model with fresh weights and a tokenizer of single characters; nothing is downloaded.

    Args:
        alphabet: Every character that prompts and responses may hold.
        model_type: Architecture, by its name in transformers.
        config: Fields of that architecture's configuration that shall differ from a 4-layer model of width 128.
        lora: Adapters to train instead of the model.
        rollout: Draws responses; default :class:`~lightning_gft.TransformersEngine`.

    Raises:
        ValueError: If ``alphabet`` is empty or repeats itself, or ``config`` names an unknown field.

    Example:
        >>> policy = ScratchPolicy(alphabet="0123456789+=", config={"num_hidden_layers": 2}).load()
        >>> len(policy.model.base_model.layers)
        2
    """

    def __init__(
        self,
        alphabet: str,
        model_type: str = "qwen2",
        config: dict[str, Any] | None = None,
        lora: LoRA | None = None,
        rollout: RolloutEngine | None = None,
    ) -> None:
        super().__init__(rollout, lora)
        self.alphabet = alphabet
        self.config = self._complete_config(model_type, config or {})

    @override
    def load_config(self) -> PreTrainedConfig:
        return self.config

    @override
    def load_tokenizer(self) -> PreTrainedTokenizerBase:
        return alphabet_tokenizer(self.alphabet)

    @override
    def load_model(self) -> PreTrainedModel:
        with torch.device("cpu"):  # whose random numbers are the same everywhere
            model: PreTrainedModel = AutoModelForCausalLM.from_config(self.config, dtype=torch.float32)
        nn.Module.to(model, torch.get_default_device())
        return model

    def _complete_config(self, model_type: str, config: dict[str, Any]) -> PreTrainedConfig:
        try:
            default = AutoConfig.for_model(model_type)
        except ValueError as error:
            raise ValueError(f"model_type={model_type!r} is not an architecture of transformers") from error
        unknown = [name for name in config if not hasattr(default, name)]
        if unknown:
            raise ValueError(f"config: {type(default).__name__} has no field {', '.join(map(repr, unknown))}")
        tokenizer = self.load_tokenizer()
        heads = {"num_key_value_heads": config.get("num_attention_heads", _SMALL["num_attention_heads"])}
        small = {name: value for name, value in {**_SMALL, **heads}.items() if hasattr(default, name)}
        ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "eos", "bos")}
        # A field may go by two names, GPT-2's `n_embd` and `hidden_size`: the one given must replace the other.
        given = {default.attribute_map.get(name, name): value for name, value in config.items()}
        filled = {"vocab_size": len(tokenizer), **small, **ids}
        filled = {default.attribute_map.get(name, name): value for name, value in filled.items()}
        return AutoConfig.for_model(model_type, **{**filled, **given})
