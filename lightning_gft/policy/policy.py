"""The policy: the one module that runs the language model."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lightning_gft.checks import check_count
from lightning_gft.errors import GFTRuntimeError
from lightning_gft.functional.head.linear_logprob import ChunkCoefficientsFn
from lightning_gft.lm.decoding.stopping import StopStrings
from lightning_gft.lm.forward import score
from lightning_gft.lm.heads import find_linear_head
from lightning_gft.lm.micro_batches import micro_batch_rows
from lightning_gft.lm.packable import find_packability
from lightning_gft.policy.adapters import Adapters, LoRA
from lightning_gft.policy.checks import check_causal, check_prompts, check_vocabulary, check_window
from lightning_gft.policy.ends import end_tokens, name_ends, save_ends
from lightning_gft.policy.quantization import is_quantised
from lightning_gft.policy.sharding import Sharding, Unsharded, compute_device
from lightning_gft.rollout import RolloutEngine, TransformersEngine
from lightning_gft.sampling import SamplingParams
from lightning_gft.seeds import response_seeds
from lightning_gft.types import CoefficientsFn, GroupBatch, LossOutput, Response


class Policy(nn.Module):
    """A causal language model with its tokenizer: scored, trained and sampled from through here and nowhere else.

    Args:
        model: The language model. Its head is fused with the loss where it is linear; any other head works too.
        tokenizer: Its tokenizer, with an end-of-sequence and a padding token.
        engine: Draws responses; default :class:`~lightning_gft.TransformersEngine`.
        keep_reference: Whether to keep the model as it is now, for :meth:`reference`: a frozen copy, or with adapters
            at most one of theirs.
        lora: Adapters to put into the model, which is then frozen.

    Raises:
        ValueError: If the tokenizer knows tokens that the model does not, the model is not causal, or the adapters do
            not fit it.

    Example:
        >>> from lightning_gft import ScratchPolicy
        >>> policy = ScratchPolicy(alphabet="0123456789+=").load()
        >>> [[response]] = policy.generate([policy.tokenizer.encode("1+1=")], 1, SamplingParams(max_new_tokens=4), 0)
        >>> len(response.token_ids) <= 4
        True
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        engine: RolloutEngine | None = None,
        keep_reference: bool = False,
        lora: LoRA | None = None,
    ) -> None:
        super().__init__()
        check_vocabulary(model, tokenizer)
        check_causal(model)
        self.end = end_tokens(model, tokenizer)
        self.tokenizer = tokenizer
        self.engine = engine or TransformersEngine()
        self.model = model
        self.adapters = None if lora is None else Adapters(model, lora, keep_reference)
        self.head = find_linear_head(model)
        self.packability = find_packability(model, self.head)
        copied = keep_reference and lora is None
        self.reference_model = copy.deepcopy(model).eval().requires_grad_(False) if copied else None
        self.sharding: Sharding = Unsharded(self)
        self._uses_reference = False
        self._stops: dict[tuple[str, ...], StopStrings] = {}
        if self.head is None:
            rank_zero_warn(
                f"{type(model).__name__} has a head that the fused loss does not serve; its own logits are used "
                "instead, which takes more memory"
            )
        if self.packability.longest is not None:
            rank_zero_info(str(self.packability))

    @property
    def device(self) -> torch.device:
        """Device on which the model runs."""
        return compute_device(self.model)

    @property
    def is_quantised(self) -> bool:
        """Whether some of the model's weights are packed into few bits."""
        return is_quantised(self.model)

    @property
    def pad_token_id(self) -> int:
        """Token id that fills a row up; any would do, since masks go by length and never by id."""
        return self.end.pad_token_id

    @cached_property
    def identity(self) -> dict[str, str]:
        """What a checkpoint of this policy goes with, beside its weights, by names that an error can show."""
        tokenizer = self.tokenizer
        known = f"{sorted(tokenizer.get_vocab().items())} {tokenizer.chat_template}"
        digest = hashlib.sha256(known.encode()).hexdigest()[:8]
        lora = {} if self.adapters is None else {"lora": self.adapters.identity}
        return {"tokenizer": f"{type(tokenizer).__name__} of {len(tokenizer)} tokens ({digest})", **lora}

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Return the text of a response.

        Args:
            token_ids: Its tokens.
            skip_special_tokens: Whether to leave every special token out. If not, those that end the response and
                padding behind it are left out all the same.
        """
        if skip_special_tokens:
            return str(self.tokenizer.decode(list(token_ids), skip_special_tokens=True))
        behind = {*self.end.eos_token_ids, self.end.pad_token_id}
        length = len(token_ids)
        while length and token_ids[length - 1] in behind:
            length -= 1
        return str(self.tokenizer.decode(list(token_ids[:length]), skip_special_tokens=False))

    def forward(
        self, groups: GroupBatch, coefficients: CoefficientsFn, normalizer: Tensor | float, entropy: bool = False
    ) -> LossOutput:
        """Run the model once over ``groups`` and return ``-sum_t weight_t * c_t * log p_t / normalizer``.

        Args:
            groups: Sequences that carry a gradient.
            coefficients: The objective, see :meth:`lightning_gft.GroupLoss.coefficients`.
            normalizer: Scalar ``Z``. Lightning's Fabric rounds the tensors of a module's arguments to half precision
                under ``bf16-mixed``; a Python number stays exact.
            entropy: Whether to return entropies.
        """
        tokens = groups.tokens()

        def scaled(logprobs: Tensor, index: slice) -> Tensor:
            chunk = tokens[index]
            return chunk.weights * coefficients(logprobs, chunk) / normalizer

        return self.sharding.run(lambda: self._score(groups, scaled, entropy))

    def micro_batch_rows(self, groups: GroupBatch, max_tokens: int) -> list[Tensor]:
        """Split sequences into micro-batches that put at most ``max_tokens`` tokens through the model at once.

        Args:
            groups: ``N`` sequences.
            max_tokens: Token budget. Tokens that sequences share count once, but all of those in a micro-batch are at
                most eight times as many. Where the model cannot share them, padding counts too.

        Returns:
            For each micro-batch its row numbers.
        """
        return micro_batch_rows(groups, max_tokens, packed=self._packs(groups))

    @torch.no_grad()
    def token_logprobs(self, groups: GroupBatch, max_tokens: int) -> tuple[Tensor, Tensor]:
        """Return log-probabilities and entropies, both ``[N, T]`` and 0 outside the response, without gradient.

        Args:
            groups: ``N`` sequences.
            max_tokens: Tokens to run at once, see :meth:`micro_batch_rows`.
        """
        model = self._scored_model
        dtype = torch.promote_types(model.dtype, torch.float32)  # not the default one, which may be half precision
        logprobs = torch.zeros(groups.input_ids.shape, dtype=dtype, device=self.device)
        entropies = torch.zeros_like(logprobs)
        with self.sharding.whole(model), _evaluating(model):
            for rows in self.micro_batch_rows(groups, max_tokens):
                piece = groups.select(rows)
                output = self._score(piece, lambda logprobs, _: torch.zeros_like(logprobs), entropy=True)
                assert output.entropy is not None  # noqa: S101 (asked for above)
                for target, values in ((logprobs, output.logprobs), (entropies, output.entropy)):
                    target[rows] = torch.zeros_like(target[rows]).masked_scatter(
                        groups.response_mask[rows], values.to(dtype)
                    )
        return logprobs, entropies

    @contextmanager
    def reference(self) -> Iterator[None]:
        """Within this context the policy scores as it did when it was loaded.

        Raises:
            RuntimeError: If no reference was kept, unless it is the model without its adapters.
        """
        if self.adapters is not None:
            with self.adapters.reference():
                yield
            return
        if self.reference_model is None:
            raise GFTRuntimeError("this policy keeps no reference; load it with keep_reference=True")
        self._uses_reference = True
        try:
            yield
        finally:
            self._uses_reference = False

    def generate(
        self,
        prompt_ids: Sequence[Sequence[int]],
        num_generations: int,
        sampling: SamplingParams,
        seed: int,
        places: Sequence[int] | None = None,
    ) -> list[list[Response]]:
        """Draw ``num_generations`` responses to each of ``P`` prompts; the same seed draws the same responses.

        Args:
            prompt_ids: ``P`` prompts as token ids.
            num_generations: Responses a prompt.
            sampling: How to draw.
            seed: Of this call; every response gets one of its own from it.
            places: :attr:`~lightning_gft.PromptBatch.places` of the prompts; by default they are counted.

        Raises:
            TypeError: If ``num_generations`` or ``seed`` is not a whole number.
            ValueError: If one of them is out of range, a prompt has no tokens, or a prompt and the longest response do
                not fit into the model's window.
        """
        check_count("num_generations", num_generations)
        check_count("seed", seed, least=0, most=2**64 - 1)
        check_prompts(prompt_ids)
        check_window(self.tokenizer, max(map(len, prompt_ids), default=0), sampling.max_new_tokens)
        seeds = response_seeds(seed, places or range(len(prompt_ids)), num_generations)
        # Dropout would make each token one of another policy.
        with self.sharding.whole(self.model), _evaluating(self.model):
            end = replace(self.end, stop=self._stop(tuple(sampling.stop_strings)))
            return self.engine.generate(self.model, prompt_ids, num_generations, sampling, seeds, end)

    def save_pretrained(
        self, path: str | Path, torch_dtype: str | None = None, merged: PreTrainedModel | None = None
    ) -> None:
        """Write model (safetensors), configuration and tokenizer, to be loaded with transformers.

        A policy with adapters writes those alone, to be loaded with peft.

        Args:
            path: Folder; made if it does not exist.
            torch_dtype: Data type of the written weights, such as ``"bfloat16"``; by default their own.
            merged: Model with the adapters in its weights, to write in place of the adapters. Takes on ``torch_dtype``.
        """
        if self.adapters is not None and merged is None:
            self.adapters.save_pretrained(path, torch_dtype)
            save_ends(self.model, self.end, path)
        else:
            model = self.model if merged is None else merged
            if torch_dtype is not None:
                own = copy.deepcopy(model) if merged is None else merged  # which nothing else needs
                model = own.to(getattr(torch, torch_dtype))
            with name_ends(model, self.end):
                model.save_pretrained(path)
        tokenizer = copy.copy(self.tokenizer)
        # Its own, not the window of this model that loading has put in its place.
        tokenizer.model_max_length = tokenizer.init_kwargs.get("model_max_length", tokenizer.model_max_length)
        tokenizer.save_pretrained(path)

    def _stop(self, strings: tuple[str, ...]) -> StopStrings | None:
        if strings and strings not in self._stops:  # kept, as they learn which tokens matter
            self._stops[strings] = StopStrings(self.tokenizer, strings)
        return self._stops.get(strings)

    @property
    def _scored_model(self) -> PreTrainedModel:
        model = self.reference_model if self._uses_reference else self.model
        assert model is not None  # noqa: S101 (the context above has checked)
        return model

    def _score(self, groups: GroupBatch, coefficients: ChunkCoefficientsFn, entropy: bool) -> LossOutput:
        return score(self._scored_model, self.head, groups, coefficients, entropy, self._packs(groups))

    def _packs(self, groups: GroupBatch) -> bool:
        longest = self.packability.longest
        return longest is None or groups.input_ids.shape[1] <= longest


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
