"""A small policy with fresh weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from typing_extensions import override

from lightning_gft.policy.adapters import LoRA
from lightning_gft.policy.loader import PolicyLoader
from lightning_gft.policy.scratch_config import small_config
from lightning_gft.policy.tokenizer import alphabet_tokenizer
from lightning_gft.rollout import RolloutEngine


class ScratchPolicy(PolicyLoader):
    """A small language model with fresh weights and a tokenizer of single characters; nothing is downloaded.

    Args:
        alphabet: Every character that prompts and responses may contain.
        model_type: Architecture, by its name in transformers.
        config: Fields of the architecture's configuration that differ from a 4-layer model of width 128.
        lora: Adapters to train instead of the model.
        rollout: Engine that samples responses; default :class:`~lightning_gft.TransformersEngine`.

    Raises:
        ValueError: If ``alphabet`` is empty or repeats a character, or ``config`` has an unknown field or a value that
            no model can be built with.

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
        self.config = small_config(model_type, config or {}, self.load_tokenizer())

    @override
    def load_config(self) -> PreTrainedConfig:
        return self.config

    @override
    def load_tokenizer(self) -> PreTrainedTokenizerBase:
        return alphabet_tokenizer(self.alphabet)

    @override
    def load_model(self) -> PreTrainedModel:
        with torch.device("cpu"):  # its random numbers are the same everywhere
            model: PreTrainedModel = AutoModelForCausalLM.from_config(self.config, dtype=torch.float32)
        nn.Module.to(model, torch.get_default_device())
        return model
