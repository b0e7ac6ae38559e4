"""A policy from a model and a tokenizer that are already in memory."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from typing_extensions import override

from lightning_gft.checks import check_kind
from lightning_gft.errors import GFTValueError
from lightning_gft.policy.adapters import LoRA
from lightning_gft.policy.loader import PolicyLoader
from lightning_gft.policy.quantization import is_quantised, keep_differentiable
from lightning_gft.policy.tokenizer import set_chat_template
from lightning_gft.rollout import RolloutEngine


class ModelPolicy(PolicyLoader):
    """A policy from a model and a tokenizer that are already in memory.

    Every load trains a copy of the model as it is at that time; the model itself stays unchanged. With adapters, the
    copy shares the memory of the frozen weights, so it takes almost none. Without them, keep the model on the CPU: the
    trainer moves only the copy to its device.

    Args:
        model: A causal language model of transformers; one with 4-bit or 8-bit weights requires ``lora``.
        tokenizer: Tokenizer whose tokens the model embeds.
        rollout: Engine that samples responses; default :class:`~lightning_gft.TransformersEngine`.
        lora: Adapters to train instead of the model.
        chat_template: Jinja template, or a file with one, that replaces the tokenizer's.

    Raises:
        TypeError: If the model or the tokenizer is of another class.
        ValueError: If the model is not a causal language model, already has adapters, or has quantised weights and no
            adapters to train; on loading, if it does not embed all of the tokenizer's tokens.

    Example:
        >>> from lightning_gft import SamplingParams, ScratchPolicy
        >>> given = ScratchPolicy(alphabet="0123456789+=").load()  # or any AutoModelForCausalLM and AutoTokenizer
        >>> loader = ModelPolicy(given.model, given.tokenizer, lora=LoRA(r=2))
        >>> policy = loader.load()
        >>> [[response]] = policy.generate([policy.tokenizer.encode("1+1=")], 1, SamplingParams(max_new_tokens=4), 0)
        >>> any(parameter.requires_grad for parameter in policy.parameters()), hasattr(given.model, "peft_config")
        (True, False)
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        rollout: RolloutEngine | None = None,
        lora: LoRA | None = None,
        chat_template: str | None = None,
    ) -> None:
        super().__init__(rollout, lora)
        check_kind("model", model, PreTrainedModel, "AutoModelForCausalLM.from_pretrained('path/or/name')")
        check_kind("tokenizer", tokenizer, PreTrainedTokenizerBase, "AutoTokenizer.from_pretrained('path/or/name')")
        if any(hasattr(module, "base_layer") for module in model.modules()):
            raise GFTValueError(
                "`model`: expected a model without adapters, got one that has some; merge them (merge_and_unload), or "
                "save them and give their folder as lora=LoRA(adapter_path=...)"
            )
        if model.config.is_encoder_decoder or model.get_output_embeddings() is None:
            raise GFTValueError(
                f"`model`: expected a causal language model, as AutoModelForCausalLM loads, got {type(model).__name__}"
            )
        self.model = model
        if is_quantised(self.model) and lora is None:
            raise GFTValueError(
                "`model`: expected weights that can be trained, got quantised ones; train adapters on top of them, "
                "lora=LoRA(r=16, alpha=32), or load the model without quantization_config"
            )
        self.given_tokenizer = tokenizer
        self.chat_template = chat_template

    @override
    def load_config(self) -> PreTrainedConfig:
        return self.model.config

    @override
    def load_tokenizer(self) -> PreTrainedTokenizerBase:
        tokenizer = copy.deepcopy(self.given_tokenizer)  # the copy gets a padding token and the model's window
        if self.chat_template is not None:
            set_chat_template(tokenizer, self.chat_template)
        return tokenizer

    @override
    def load_model(self) -> PreTrainedModel:
        model = self._copy(shared=self.lora is not None)
        if is_quantised(model):
            keep_differentiable(model)
        return model

    @override
    def base_name(self) -> str | None:
        return self.model.name_or_path or None

    @override
    def check_merge(self) -> None:
        super().check_merge()
        if is_quantised(self.model):
            raise GFTValueError(
                "`merge`: expected a model in full precision, got one whose weights are quantised, into which an "
                "adapter merges badly; export the adapter, and merge it into the model that it was quantised from"
            )

    def _copy(self, shared: bool) -> PreTrainedModel:
        """Copy the model, sharing frozen weights; packed weights are copied by their own deepcopy."""
        memo: dict[int, Any] = {}
        if shared:
            plain = (weight for weight in self.model.parameters() if type(weight) is nn.Parameter)
            memo = {id(weight): nn.Parameter(weight.data, requires_grad=weight.requires_grad) for weight in plain}
        copied: PreTrainedModel = copy.deepcopy(self.model, memo)
        copied.train()
        return copied
