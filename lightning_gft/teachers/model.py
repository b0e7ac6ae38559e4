"""A teacher that is another language model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedTokenizerBase
from typing_extensions import override

from lightning_gft.checks import check_kind
from lightning_gft.data import Example
from lightning_gft.errors import GFTValueError
from lightning_gft.policy import Policy, PolicyLoader, check_window
from lightning_gft.teachers.base import Teacher
from lightning_gft.types import PromptBatch, Response, ResponseGenerator


class ModelTeacher(Teacher):
    """A language model with the policy's vocabulary, usually a larger one: on-policy distillation (OPD).

    The teacher is loaded when the run starts, unsharded on every rank, and is never trained.

    Args:
        policy: The teacher, such as ``PretrainedPolicy("path/or/name", torch_dtype="bfloat16")``.
        micro_batch_tokens: Most tokens of one forward pass of the teacher.

    Raises:
        TypeError: If ``policy`` is no policy.

    Example:
        >>> from lightning_gft import PretrainedPolicy
        >>> ModelTeacher(PretrainedPolicy("Qwen/Qwen2.5-7B", torch_dtype="bfloat16")).micro_batch_tokens
        16384
    """

    def __init__(self, policy: PolicyLoader, micro_batch_tokens: int = 16384) -> None:
        super().__init__(micro_batch_tokens)
        check_kind("policy", policy, PolicyLoader, "PretrainedPolicy('path/or/name')")
        self.policy_loader = policy
        self._policy: Policy | None = None

    @override
    def setup(self) -> None:
        if self._policy is None:
            with torch.random.fork_rng(
                devices=[]
            ):  # so that the policy starts with the same weights as without a teacher
                self._policy = self.policy_loader.load().eval().requires_grad_(False)

    @override
    def close(self) -> None:
        self._policy = None

    @override
    def check_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        own = self.policy_loader.tokenizer.get_vocab()
        if own != tokenizer.get_vocab():
            raise GFTValueError(
                f"`policy` of ModelTeacher: expected the policy's vocabulary of {len(tokenizer)} tokens, got another "
                f"of {len(own)}; name a teacher of the same family"
            )

    @override
    def check_prompts(self, rows: Sequence[Example], tokenizer: PreTrainedTokenizerBase, max_new_tokens: int) -> None:
        longest = max(len(row.prompt_ids) for row in rows)
        try:
            check_window(self.policy_loader.tokenizer, longest, max_new_tokens)
        except ValueError as error:
            raise GFTValueError(f"`policy` of ModelTeacher: {error}") from error

    @override
    def logprobs(
        self, prompts: PromptBatch, responses: Sequence[Sequence[Response]], policy: ResponseGenerator, seed: int
    ) -> list[list[list[float]] | None]:
        self.setup()
        assert self._policy is not None  # noqa: S101 (loaded by `setup`)
        if self._policy.device != policy.device:
            self._policy.to(policy.device)
        return [*self.score(self._policy, prompts.prompt_ids, responses)]
