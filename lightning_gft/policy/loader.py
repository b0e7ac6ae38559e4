"""Policy loaders: what a configuration says about a policy, and how it becomes one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any, Literal

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.tokenization_auto import get_tokenizer_config
from typing_extensions import override

from lightning_gft.policy.policy import Policy
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

_GENERIC_TOKENIZERS = ("PreTrainedTokenizerFast", "TokenizersBackend")

Dtype = Literal["auto", "float32", "bfloat16", "float16", "float64"]


class PolicyLoader(ABC):
    """Describes a policy. The tokenizer is there at once; the weights come with :meth:`load`.

    Args:
        rollout: Draws responses; default :class:`~lightning_gft.TransformersEngine`.
    """

    def __init__(self, rollout: RolloutEngine | None = None) -> None:
        self.rollout = rollout

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The policy's tokenizer, checked: it can end a response and fill a row up, and it knows the model's window."""
        # First of all, because it is a small file: what is not there is told soon.
        window = getattr(self.load_config().get_text_config(), "max_position_embeddings", None)
        tokenizer = self.load_tokenizer()
        if tokenizer.eos_token_id is None:
            raise ValueError(
                f"{type(tokenizer).__name__} has no end-of-sequence token, so a response could never end; set "
                "eos_token in its tokenizer_config.json"
            )
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token  # harmless: padding is masked by length, not by id
        tokenizer.model_max_length = min(tokenizer.model_max_length, window or tokenizer.model_max_length)
        return tokenizer

    def load(self, keep_reference: bool = False) -> Policy:
        """Load the weights.

        Args:
            keep_reference: Whether to keep a frozen copy of the policy as loaded.
        """
        return Policy(self.load_model(), self.tokenizer, self.rollout, keep_reference)

    @abstractmethod
    def load_config(self) -> PreTrainedConfig:
        """Return the language model's configuration."""

    @abstractmethod
    def load_tokenizer(self) -> PreTrainedTokenizerBase:
        """Return the tokenizer as it is stored."""

    @abstractmethod
    def load_model(self) -> PreTrainedModel:
        """Return the language model with its weights."""


class PretrainedPolicy(PolicyLoader):
    """A causal language model from a folder or from the Hugging Face hub.

    Args:
        model_name_or_path: Folder written by ``save_pretrained``, or name on the hub.
        torch_dtype: Data type of the weights; ``auto`` takes the one they are stored in. Small updates vanish in half
            precision, so train in float32 and save time and memory by ``trainer.precision: bf16-mixed``.
        attn_implementation: ``sdpa``, ``eager``, ``flash_attention_2`` and so on; by default transformers chooses.
        revision: Branch, tag or commit on the hub.
        gradient_checkpointing: Compute activations again in backward instead of keeping them.
        trust_remote_code: Run code that comes with the model. Off; switch it on only for code that you have read.
        rollout: Draws responses; default :class:`~lightning_gft.TransformersEngine`.

    Raises:
        ValueError: On loading, if there is no such model or it is not a causal language model.

    Example:
        >>> PretrainedPolicy("Qwen/Qwen2.5-0.5B", torch_dtype="bfloat16").model_name_or_path
        'Qwen/Qwen2.5-0.5B'
    """

    def __init__(
        self,
        model_name_or_path: str,
        torch_dtype: Dtype = "float32",
        attn_implementation: str | None = None,
        revision: str = "main",
        gradient_checkpointing: bool = False,
        trust_remote_code: bool = False,
        rollout: RolloutEngine | None = None,
    ) -> None:
        super().__init__(rollout)
        self.model_name_or_path = model_name_or_path
        self.torch_dtype = torch_dtype
        self.attn_implementation = attn_implementation
        self.gradient_checkpointing = gradient_checkpointing
        self.hub: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}

    @override
    def load_config(self) -> PreTrainedConfig:
        try:
            config: PreTrainedConfig = AutoConfig.from_pretrained(self.model_name_or_path, **self.hub)
        except OSError as error:
            raise self._not_found("model", error) from error
        return config

    @override
    def load_tokenizer(self) -> PreTrainedTokenizerBase:
        try:
            saved_as = get_tokenizer_config(self.model_name_or_path, **self.hub).get("tokenizer_class")
            # Such a tokenizer is wholly in its file. The automatic choice may go by the model's type instead, and build
            # one that drops what it does not know.
            kind = PreTrainedTokenizerFast if saved_as in _GENERIC_TOKENIZERS else AutoTokenizer
            tokenizer: PreTrainedTokenizerBase = kind.from_pretrained(self.model_name_or_path, **self.hub)
        except OSError as error:
            raise self._not_found("tokenizer", error) from error
        return tokenizer

    @override
    def load_model(self) -> PreTrainedModel:
        dtype = self.torch_dtype if self.torch_dtype == "auto" else getattr(torch, self.torch_dtype)
        try:
            model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
                self.model_name_or_path,
                dtype=dtype,
                attn_implementation=self.attn_implementation,
                use_safetensors=True,
                **self.hub,
            )
        except OSError as error:
            raise self._not_found("model", error) from error
        if self.gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        # Loading leaves a model in evaluation mode, in which gradient checkpointing does nothing.
        model.train()
        return model

    def _not_found(self, what: str, error: OSError) -> ValueError:
        reason = str(error).splitlines()[0].rstrip(".")
        return ValueError(
            f"model_name_or_path={self.model_name_or_path!r}: no {what} could be loaded from there ({reason}). Give a "
            "folder that holds config.json, model.safetensors and the tokenizer's files, or a name on the hub, where "
            "this machine can reach it"
        )


class ScratchPolicy(PolicyLoader):
    """A small language model with fresh weights and a tokenizer of single characters; nothing is downloaded.

    Args:
        alphabet: Every character that prompts and responses may hold.
        model_type: Architecture, by its name in transformers.
        config: Fields of that architecture's configuration that shall differ from a 4-layer model of width 128.
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
        rollout: RolloutEngine | None = None,
    ) -> None:
        super().__init__(rollout)
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
        model: PreTrainedModel = AutoModelForCausalLM.from_config(self.config, dtype=torch.float32)
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
