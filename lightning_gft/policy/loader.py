"""Policy loaders: descriptions of a policy in a configuration, which load it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property

from lightning.pytorch.strategies import Strategy
from transformers import (
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from lightning_gft.checks import check_kind
from lightning_gft.errors import GFTValueError
from lightning_gft.policy.adapter_files import check_adapter_folder
from lightning_gft.policy.adapters import Adapters, LoRA
from lightning_gft.policy.copying import full_precision
from lightning_gft.policy.policy import Policy
from lightning_gft.rollout import RolloutEngine


class PolicyLoader(ABC):
    """Describes a policy. Its tokenizer is available at once; :meth:`load` loads the weights.

    Args:
        rollout: Engine that samples responses; default :class:`~lightning_gft.TransformersEngine`.
        lora: Adapters to train instead of the model.
    """

    def __init__(self, rollout: RolloutEngine | None = None, lora: LoRA | None = None) -> None:
        if lora is not None:
            check_kind("lora", lora, LoRA, "LoRA(r=16)")
        self.rollout = rollout
        self.lora = lora

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The policy's tokenizer, checked to have an end-of-sequence token, with padding and the model's window set."""
        # First, because these are small files: a missing one is reported early.
        if self.lora is not None and self.lora.adapter_path is not None:
            check_adapter_folder(self.lora.adapter_path)
        window = getattr(self.load_config().get_text_config(), "max_position_embeddings", None)
        tokenizer = self.load_tokenizer()
        if tokenizer.eos_token_id is None:
            raise GFTValueError(
                f"{type(tokenizer).__name__}: expected an end-of-sequence token, without which no response would end, "
                "got none; set eos_token in its tokenizer_config.json"
            )
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token  # harmless: padding is masked by length, not by id
        tokenizer.model_max_length = min(tokenizer.model_max_length, window or tokenizer.model_max_length)
        return tokenizer

    def load(self, keep_reference: bool = False) -> Policy:
        """Load the weights and return the policy.

        Args:
            keep_reference: Whether to keep the policy as it is loaded, see :class:`~lightning_gft.Policy`.
        """
        return Policy(self.load_model(), self.tokenizer, self.rollout, keep_reference, self.lora)

    def base_name(self) -> str | None:
        """Return the folder or hub name of the model to start from, if it has one."""
        return None

    def check_merge(self) -> None:
        """Check that this policy has adapters that can be merged.

        Raises:
            ValueError: If it has none, or they cannot be merged into its model.
        """
        if self.lora is None:
            raise GFTValueError(
                "`merge`: expected a policy with adapters, got one without; leave merge out to export its weights as "
                "they are"
            )

    def full_precision(self, policy: Policy) -> Adapters:
        """Return a copy of a policy's adapters on the CPU, in a model of their own with weights in full precision.

        Args:
            policy: A policy of this loader, with adapters and without packed weights.
        """
        assert policy.adapters is not None  # noqa: S101 (the caller has checked)
        return full_precision(policy.adapters)

    def merge(self, policy: Policy) -> PreTrainedModel:
        """Return a model with a policy's adapters merged into its weights.

        Args:
            policy: A policy of this loader, with adapters.
        """
        return self.full_precision(policy).merge()

    def check_trainer(self, strategy: Strategy, precision: str) -> None:
        """Check that this policy can be trained with a strategy and a precision.

        Args:
            strategy: The trainer's strategy.
            precision: The trainer's precision, such as ``"bf16-mixed"``.

        Raises:
            ValueError: If it cannot be trained with one of them.
        """
        if self.lora is not None and precision in ("bf16-true", "16-true"):
            raise GFTValueError(
                "`precision`: expected one that leaves adapters in single precision, such as bf16-mixed, got "
                f"{precision!r}, which converts them to half precision, where small updates vanish; set the policy's "
                "torch_dtype to bfloat16 and trainer.precision to bf16-mixed"
            )

    @abstractmethod
    def load_config(self) -> PreTrainedConfig:
        """Return the configuration of the language model."""

    @abstractmethod
    def load_tokenizer(self) -> PreTrainedTokenizerBase:
        """Return the tokenizer as it is stored, without defaults."""

    @abstractmethod
    def load_model(self) -> PreTrainedModel:
        """Return the language model with its weights."""
