"""Policy loaders: what a configuration says about a policy, and how it becomes one."""

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
    """Describes a policy. The tokenizer is there at once; the weights come with :meth:`load`.

    Args:
        rollout: Draws responses; default :class:`~lightning_gft.TransformersEngine`.
        lora: Adapters to train instead of the model.
    """

    def __init__(self, rollout: RolloutEngine | None = None, lora: LoRA | None = None) -> None:
        if lora is not None:
            check_kind("lora", lora, LoRA, "LoRA(r=16)")
        self.rollout = rollout
        self.lora = lora

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The policy's tokenizer, checked: it can end a response and fill a row up, and it knows the model's window."""
        # First, because these are small files: one that is missing is reported soon.
        if self.lora is not None and self.lora.adapter_path is not None:
            check_adapter_folder(self.lora.adapter_path)
        window = getattr(self.load_config().get_text_config(), "max_position_embeddings", None)
        tokenizer = self.load_tokenizer()
        if tokenizer.eos_token_id is None:
            raise GFTValueError(
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
            keep_reference: Whether to keep the policy as it is loaded, see :class:`~lightning_gft.Policy`.
        """
        return Policy(self.load_model(), self.tokenizer, self.rollout, keep_reference, self.lora)

    def base_name(self) -> str | None:
        """Return folder or hub name of the model that this starts from, if it has one."""
        return None

    def check_merge(self) -> None:
        """Refuse to merge what has no adapters, or cannot be merged.

        Raises:
            ValueError: If there is a reason to.
        """
        if self.lora is None:
            raise GFTValueError(
                "`merge`: expected a policy with adapters, got one without; leave merge out, and its weights are "
                "exported as they are"
            )

    def full_precision(self, policy: Policy) -> Adapters:
        """Return a copy of a policy's adapters on the CPU, in a model of their own with weights in full precision.

        Args:
            policy: What this has loaded, with adapters and without packed weights.
        """
        assert policy.adapters is not None  # noqa: S101 (the caller has checked)
        return full_precision(policy.adapters)

    def merge(self, policy: Policy) -> PreTrainedModel:
        """Return a model with a policy's adapters added to its weights.

        Args:
            policy: What this has loaded, with adapters.
        """
        return self.full_precision(policy).merge()

    def check_trainer(self, strategy: Strategy, precision: str) -> None:
        """Refuse a strategy or a precision that this policy cannot be trained with.

        Args:
            strategy: The trainer's.
            precision: The trainer's.

        Raises:
            ValueError: If there is a reason to.
        """
        if self.lora is not None and precision in ("bf16-true", "16-true"):
            raise GFTValueError(
                f"precision={precision!r} would take the adapters to half precision, in which small updates vanish: "
                "set the policy's torch_dtype to bfloat16 and trainer.precision to bf16-mixed"
            )

    @abstractmethod
    def load_config(self) -> PreTrainedConfig:
        """Return the language model's configuration."""

    @abstractmethod
    def load_tokenizer(self) -> PreTrainedTokenizerBase:
        """Return the tokenizer as it is stored."""

    @abstractmethod
    def load_model(self) -> PreTrainedModel:
        """Return the language model with its weights."""
