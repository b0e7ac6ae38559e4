"""A policy from a folder or the Hugging Face hub."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any, Literal, get_args

import torch
from lightning.pytorch.strategies import Strategy
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
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

from lightning_gft.checks import check_choice, check_number, with_value
from lightning_gft.errors import GFTValueError
from lightning_gft.hub import expand_home, hub_or_cache, may_be_folder, no_such_folder
from lightning_gft.lm.heads import widen_head
from lightning_gft.policy.adapters import Adapters, LoRA
from lightning_gft.policy.files import check_folder, check_tokenizer_files, check_weight_files, damaged_files, summarise
from lightning_gft.policy.loader import PolicyLoader
from lightning_gft.policy.policy import Policy
from lightning_gft.policy.quantization import Quantization, check_sharding, keep_differentiable, warn_of_stacked_experts
from lightning_gft.policy.tokenizer import set_chat_template
from lightning_gft.policy.weights import Dtype, check_weights, quiet_report
from lightning_gft.rollout import RolloutEngine

_DROPOUTS = (
    "activation_dropout",
    "attention_dropout",
    "attn_pdrop",
    "dropout",
    "embd_pdrop",
    "hidden_dropout",
    "resid_dropout",
    "resid_pdrop",
)
"""Names of dropout probabilities in the configurations of architectures."""

_GENERIC_TOKENIZERS = ("PreTrainedTokenizerFast", "TokenizersBackend")

_ABOUT_ATTENTION = re.compile(
    "attn_implementation|attention implementation|flash|flex|scaled_dot_product", re.IGNORECASE
)
"""Words of transformers' errors about an attention function that is unknown or not installed; weights are named
otherwise."""


class PretrainedPolicy(PolicyLoader):
    """A causal language model from a folder or the Hugging Face hub.

    Args:
        model_name_or_path: Folder written by ``save_pretrained``, or name on the hub.
        torch_dtype: Data type of the weights; ``auto`` takes the one they are stored in. Small updates vanish in half
            precision, so train in float32 and save time and memory with ``trainer.precision: bf16-mixed``. Frozen
            weights under adapters can be bfloat16; the adapters are float32 in any case.
        attn_implementation: ``sdpa``, ``eager``, ``flash_attention_2`` and so on; by default transformers chooses.
        revision: Branch, tag or commit on the hub; leave it out for a folder.
        gradient_checkpointing: Whether to recompute activations in backward instead of storing them.
        trust_remote_code: Whether to run code that comes with the model. Set it only for code that you have read.
        dropout: Replaces every dropout probability of the model's configuration. It applies in training passes only.
        chat_template: Jinja template, or a file with one, that replaces the tokenizer's.
        fp32_head: Whether to compute the output head in float32 although weights or autocast are in half precision.
            Logits, and so log-probabilities, are then less coarse, in training and sampling alike.
        lora: Adapters to train instead of the model.
        quantization: Precision of linear layers loaded in 4 or 8 bits; requires ``lora``.
        rollout: Engine that samples responses; default :class:`~lightning_gft.TransformersEngine`.

    Raises:
        ValueError: If settings contradict each other; on loading, if the model does not exist or is not a causal
            language model, or its files are damaged, lack weights or hold others.

    Example:
        >>> PretrainedPolicy("Qwen/Qwen2.5-0.5B", torch_dtype="bfloat16").model_name_or_path
        'Qwen/Qwen2.5-0.5B'
    """

    def __init__(
        self,
        model_name_or_path: str,
        torch_dtype: Dtype | Literal["auto"] = "float32",
        attn_implementation: str | None = None,
        revision: str = "main",
        gradient_checkpointing: bool = False,
        trust_remote_code: bool = False,
        dropout: float | None = None,
        chat_template: str | None = None,
        fp32_head: bool = False,
        lora: LoRA | None = None,
        quantization: Quantization | None = None,
        rollout: RolloutEngine | None = None,
    ) -> None:
        super().__init__(rollout, lora)
        if dropout is not None:
            dropout = check_number("dropout", dropout, least=0, below=1, of=type(self).__name__)
        check_choice("torch_dtype", torch_dtype, ("auto", *get_args(Dtype)), of=type(self).__name__)
        if quantization is not None and quantization.bits == 8 and lora is not None and lora.use_dora:
            raise GFTValueError(
                "`lora.use_dora`: expected false with quantization.bits=8, got true; use bits: 4, or leave use_dora out"
            )
        if quantization is not None and lora is None:
            raise GFTValueError(
                f"`quantization`: expected lora with it, got none; weights of {quantization.bits} bits cannot be "
                "trained: train adapters on top of them, lora: {r: 16, alpha: 32}, or leave quantization out"
            )
        self.model_name_or_path = expand_home(model_name_or_path)
        self.torch_dtype = torch_dtype
        self.attn_implementation = attn_implementation
        self.gradient_checkpointing = gradient_checkpointing
        self.dropout = dropout
        self.chat_template = chat_template
        self.fp32_head = fp32_head
        self.quantization = quantization
        self.hub: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}

    @override
    def check_trainer(self, strategy: Strategy, precision: str) -> None:
        super().check_trainer(strategy, precision)
        if self.quantization is None:
            return
        check_sharding(self.quantization, self.torch_dtype, strategy)
        if precision == "64-true":
            raise GFTValueError(
                "`precision`: expected '32-true' or 'bf16-mixed', got '64-true', which would convert the quantised "
                "weights; use 'bf16-mixed'"
            )

    @override
    def base_name(self) -> str | None:
        return self.model_name_or_path

    @override
    def full_precision(self, policy: Policy) -> Adapters:
        """Return a copy of a policy's adapters; a model with packed weights is loaded again in full precision.

        Args:
            policy: A policy of this loader, with adapters.
        """
        if not policy.is_quantised:
            return super().full_precision(policy)
        assert policy.adapters is not None  # noqa: S101 (packed weights require adapters)
        whole = copy.copy(self)
        whole.quantization, whole.fp32_head, whole.gradient_checkpointing = None, False, False
        whole.torch_dtype = "float32"
        with TemporaryDirectory() as folder, torch.device("cpu"):
            policy.adapters.save_pretrained(folder)
            return Adapters(whole.load_model(), LoRA(adapter_path=folder))

    @override
    def load_config(self) -> PreTrainedConfig:
        check_folder(self.model_name_or_path, self.hub["revision"], self._where)
        with self._reading("model"):
            config: PreTrainedConfig = AutoConfig.from_pretrained(self.model_name_or_path, **self.hub)
        own_code = getattr(config, "auto_map", None) or {}
        if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING and "AutoModelForCausalLM" not in own_code:
            raise GFTValueError(
                f"{self._where}: expected a causal language model, got one with {type(config).__name__}; give a model "
                "that AutoModelForCausalLM loads"
            )
        if self.dropout is not None:
            _set_dropout(config.get_text_config(), self.dropout)
        return config

    @override
    def load_tokenizer(self) -> PreTrainedTokenizerBase:
        check_tokenizer_files(self.model_name_or_path, self._where)
        with self._reading("tokenizer"):
            saved_as = get_tokenizer_config(self.model_name_or_path, **self.hub).get("tokenizer_class")
            # Such a tokenizer is completely in its file. The automatic choice may follow the model's type instead, and
            # build one that drops unknown characters.
            kind = PreTrainedTokenizerFast if saved_as in _GENERIC_TOKENIZERS else AutoTokenizer
            tokenizer: PreTrainedTokenizerBase = kind.from_pretrained(self.model_name_or_path, **self.hub)
        if self.chat_template is not None:
            set_chat_template(tokenizer, self.chat_template)
        return tokenizer

    @override
    def load_model(self) -> PreTrainedModel:
        check_weight_files(self.model_name_or_path, self._where)
        model = self._load_weights(self.load_config())
        if self.quantization is not None:
            keep_differentiable(model)
            warn_of_stacked_experts(model)
        if self.fp32_head:
            widen_head(model)
        if self.gradient_checkpointing:
            # Newer versions of transformers deprecate the second name, and older ones have no other.
            enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
            enable({"use_reentrant": False})
        # Loading leaves a model in `eval` mode, in which gradient checkpointing does nothing.
        model.train()
        return model

    def _load_weights(self, config: PreTrainedConfig) -> PreTrainedModel:
        settings: dict[str, Any] = {}
        if self.quantization is not None:
            # Lightning makes the trainer's device the default one while a model is loaded.
            settings = {
                "quantization_config": self.quantization.config(),
                "device_map": {"": torch.get_default_device()},
            }
        with self._reading("model"), quiet_report():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                self.model_name_or_path,
                config=config,
                dtype=self.torch_dtype if self.torch_dtype == "auto" else getattr(torch, self.torch_dtype),
                attn_implementation=self.attn_implementation,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # check_weights reports them by name
                output_loading_info=True,
                **settings,
                **self.hub,
            )
        model: PreTrainedModel
        model, report = loaded
        check_weights(model, report, self._where)
        return model

    @property
    def _where(self) -> str:
        return with_value("model_name_or_path", self.model_name_or_path)

    @contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        """Add the model and the damaged file, if any, to errors raised while it is read."""
        where, offline = self._where, ""
        try:
            with hub_or_cache(self.model_name_or_path) as offline:
                yield
        except (MemoryError, torch.OutOfMemoryError):
            raise  # says nothing about the files
        except Exception as error:
            if self.attn_implementation is not None and _ABOUT_ATTENTION.search(f"{error}"):
                raise GFTValueError(
                    f"{with_value('attn_implementation', self.attn_implementation)}: expected one that is available "
                    f"here, got: {summarise(error)}; leave it out, and transformers chooses"
                ) from error
            if isinstance(error, ImportError):
                raise
            if damaged := damaged_files(self.model_name_or_path):
                raise GFTValueError(
                    f"{where}: expected files that can be read, got {', '.join(damaged)}, damaged; download or copy it "
                    "again"
                ) from error
            if isinstance(error, OSError):
                reason = summarise(error).rstrip(".")
                if may_be_folder(self.model_name_or_path) and not os.path.exists(self.model_name_or_path):  # noqa: PTH110
                    raise no_such_folder(self.model_name_or_path, where, offline or reason) from error
                if offline:
                    raise GFTValueError(
                        f"{where}: expected a local path or a model in the cache, got neither for its {what}, and "
                        f"{offline}"
                    ) from error
                raise GFTValueError(
                    f"{where}: expected a {what}, got none ({reason}); give a folder that holds config.json, "
                    "model.safetensors and the tokenizer's files, or a name on the hub if this machine can reach it"
                ) from error
            raise GFTValueError(f"{where}: expected a {what} that can be read, got: {summarise(error)}") from error


def _set_dropout(config: PreTrainedConfig, dropout: float) -> None:
    names = [name for name in _DROPOUTS if hasattr(config, name)]
    if not names:
        raise GFTValueError(
            f"`dropout`: expected an architecture with dropout, got {dropout} for {type(config).__name__}, which has "
            "none; use lora.dropout, or leave it out"
        )
    for name in names:
        setattr(config, name, dropout)
