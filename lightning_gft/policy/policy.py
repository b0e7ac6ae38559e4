"""The policy: the one module that runs the language model."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lightning_gft.distributed.sharding import Sharding, Unsharded, compute_device
from lightning_gft.lm.capabilities import evaluating, forget_capabilities
from lightning_gft.lm.causal import check_causal
from lightning_gft.lm.forward import forward, score
from lightning_gft.lm.heads import linear_head
from lightning_gft.lm.micro_batch import MicroBatch
from lightning_gft.lm.micro_batches import micro_batches
from lightning_gft.lm.packable import longest_pack
from lightning_gft.policy.adapters import Adapters, LoRA
from lightning_gft.policy.ahead import AheadDraw
from lightning_gft.policy.checks import check_vocabulary, tokenizer_identity
from lightning_gft.policy.draws import Draws
from lightning_gft.policy.ends import closing_tokens, end_tokens, without_ends
from lightning_gft.policy.quantization import is_quantised
from lightning_gft.policy.references import References
from lightning_gft.policy.saving import save_plain, save_policy
from lightning_gft.rollout import RolloutEngine, TransformersEngine
from lightning_gft.sampling import SamplingParams
from lightning_gft.types import LossOutput, Response, Sequences, TokenObjective


class Policy(nn.Module):
    """A causal language model with its tokenizer, and the only interface for scoring, training and sampling it.

    Args:
        model: A causal language model. A linear head is fused with the loss; other heads work without fusion.
        tokenizer: The model's tokenizer, with an end-of-sequence and a padding token.
        engine: Engine that samples responses; default :class:`~lightning_gft.TransformersEngine`.
        keep_reference: Whether to keep the model as it is now for :meth:`as_loaded`: as a frozen copy or, with
            adapters, as at most one frozen adapter.
        lora: Adapters to put into the model, which is then frozen.

    Raises:
        ValueError: If the model does not embed all tokens or is not causal, or if the adapters do not fit it.

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
        forget_capabilities(model)
        check_causal(model)
        self.end = end_tokens(model, tokenizer)
        self.tokenizer = tokenizer
        self.engine = engine or TransformersEngine()
        self.model = model
        self.adapters = None if lora is None else Adapters(model, lora, keep_reference)
        forget_capabilities(model)  # adapters replace its layers
        self.head = linear_head(model).value
        self.longest_pack = longest_pack(model).value
        copied = keep_reference and lora is None
        self.reference_model = copy.deepcopy(model).eval().requires_grad_(False) if copied else None
        self.sharding: Sharding = Unsharded(self)
        self.references = References(self)
        self.draws = Draws(self)
        self.engine.attach(self)
        self.register_load_state_dict_post_hook(lambda self, _: self.weights_changed())  # type: ignore[no-untyped-call]

    @property
    def device(self) -> torch.device:
        """Device that the model computes on."""
        return compute_device(self.model)

    @property
    def is_quantised(self) -> bool:
        """Whether some of the model's weights are packed into few bits."""
        return is_quantised(self.model)

    @property
    def pad_token_id(self) -> int:
        """Id of the padding token; any would do, because masks depend on lengths and never on ids."""
        return self.end.pad_token_id

    @cached_property
    def identity(self) -> dict[str, str]:
        """What a checkpoint of this policy depends on besides its weights, by names that errors can show."""
        lora = {} if self.adapters is None else {"lora": self.adapters.identity}
        return {"tokenizer": tokenizer_identity(self.tokenizer), **lora}

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Return the text of a response.

        Args:
            token_ids: Tokens of the response.
            skip_special_tokens: Whether to leave out all special tokens, or only those at the end and the padding.
        """
        if skip_special_tokens:
            return str(self.tokenizer.decode(list(token_ids), skip_special_tokens=True))
        return str(self.tokenizer.decode(without_ends(token_ids, self.end), skip_special_tokens=False))

    def encode(self, response: str) -> list[int]:
        """Return the token ids of a whole response as the policy would draw it: with an end, and no token before it.

        Args:
            response: Text of the response, with or without the end of a chat turn written out.
        """
        ids: list[int] = self.tokenizer.encode(response, add_special_tokens=False)
        return ids if ids and ids[-1] in self.end.eos_token_ids else [*ids, *self._closing]

    def micro_batches(self, sequences: Sequences, max_tokens: int) -> list[MicroBatch]:
        """Split sequences into micro-batches that run at most ``max_tokens`` tokens through the model at once.

        Args:
            sequences: ``N`` sequences of prompts and responses.
            max_tokens: Token budget. Tokens that sequences share count once, but counted once per sequence they are at
                most eight times the budget. Where the model cannot share them, padding counts too.
        """
        return micro_batches(sequences, max_tokens, self.longest_pack)

    def empty_micro_batch(self) -> MicroBatch:
        """Return a micro-batch of one prompt token and no response token.

        It gives every parameter a gradient of zero, which keeps a rank without data in step with the others.
        """
        token = torch.zeros(1, 1, dtype=torch.long, device=self.device)
        [empty] = self.micro_batches(Sequences(token, token == 0, token != 0), max_tokens=1)
        return empty

    def forward(self, micro_batch: MicroBatch, objective: TokenObjective, entropy: bool = False) -> LossOutput:
        """Run the model once over a micro-batch and return the loss of an objective.

        Args:
            micro_batch: One of the results of :meth:`micro_batches`.
            objective: Loss to compute from the log-probabilities, which are added to its tokens.
            entropy: Whether to return entropies.

        Raises:
            ValueError: If the objective lacks inputs that it needs, or returns no coefficient for some token.
        """
        return forward(self.references.acting_model, self.head, micro_batch, objective, entropy)

    @torch.no_grad()
    def score(self, micro_batches: Sequence[MicroBatch], num_tokens: int) -> tuple[Tensor, Tensor]:
        """Return log-probabilities and entropies, both ``[M]``, without gradient; NaN for tokens of no micro-batch.

        Args:
            micro_batches: Some or all results of :meth:`micro_batches`.
            num_tokens: ``M``, response tokens of the sequences that the micro-batches come from.
        """
        model = self.references.acting_model
        dtype = torch.promote_types(model.dtype, torch.float32)  # the default data type may be half precision
        logprobs = torch.full((num_tokens,), torch.nan, dtype=dtype, device=self.device)
        entropies = logprobs.clone()
        with self.sharding.whole(model), evaluating(model):
            for micro_batch in micro_batches:
                for result, values in zip((logprobs, entropies), score(model, self.head, micro_batch), strict=True):
                    result[micro_batch.index] = values.to(dtype)
        return logprobs, entropies

    def token_logprobs(self, sequences: Sequences, max_tokens: int) -> tuple[Tensor, Tensor]:
        """Return log-probabilities and entropies, both ``[N, T]`` and 0 outside the response, without gradient.

        Args:
            sequences: ``N`` sequences of prompts and responses.
            max_tokens: Token budget of a micro-batch, see :meth:`micro_batches`.
        """
        mask = sequences.response_mask
        scored = self.score(self.micro_batches(sequences, max_tokens), int(mask.sum()))
        logprobs, entropies = (values.new_zeros(mask.shape).masked_scatter(mask, values) for values in scored)
        return logprobs, entropies

    def weights_changed(self) -> None:
        """Notify the engine of changed weights: after every optimizer step and when weights are loaded."""
        self.draws.weights_changed()
        self.engine.weights_changed()

    @contextmanager
    def drawing(self, *others: PreTrainedModel) -> Iterator[None]:
        """Let any rank draw any number of times within this context, which all ranks enter together.

        Args:
            others: Further models whose weights are gathered within.
        """
        with self.sharding.whole(self.model, *others):
            self.draws.prepare(self.references.engine())
            yield

    def as_loaded(self) -> AbstractContextManager[None]:
        """Return a context in which the policy scores and draws as it did when it was loaded.

        Raises:
            RuntimeError: On entering it, if no reference was kept and the model has no adapters to disable.
        """
        return self.references.acting("loaded")

    def reference(self) -> AbstractContextManager[None]:
        """Return a context in which the policy acts as the reference of the loss: :meth:`as_loaded`, until it is moved.

        With sharded weights, all ranks enter and leave it together.
        """
        return self.references.acting("reference")

    def move_reference(self) -> None:
        """Make the policy as it is now the :meth:`reference`: a copy of the trained weights. All ranks call it."""
        self.references.move()

    def reset_reference(self) -> None:
        """Make :meth:`as_loaded` the :meth:`reference` again, and free the copy."""
        self.references.reset()

    def generate(
        self,
        prompt_ids: Sequence[Sequence[int]],
        num_generations: int,
        sampling: SamplingParams,
        seed: int,
        places: Sequence[int] | None = None,
        with_greedy: bool = False,
    ) -> list[list[Response]]:
        """Draw ``num_generations`` responses to each of ``P`` prompts; the same seed draws the same responses.

        Args:
            prompt_ids: ``P`` prompts as token ids.
            num_generations: Number of responses per prompt.
            sampling: Temperature, filters, length limits and stop strings.
            seed: Seed of this call, from which every response gets a seed of its own.
            places: :attr:`~lightning_gft.PromptBatch.places` of the prompts; by default 0 to ``P - 1``.
            with_greedy: Whether to prepend the greedy response to each prompt's responses.

        Raises:
            TypeError: If ``num_generations`` or ``seed`` is not a whole number.
            ValueError: If one of them is out of range, a prompt has no tokens, or the model's window is too small.
            RuntimeError: If the engine returns another number of responses, or an empty one.
        """
        return self.draws.now(prompt_ids, num_generations, sampling, seed, places, with_greedy)

    def generate_ahead(
        self,
        prompt_ids: Sequence[Sequence[int]],
        num_generations: int,
        sampling: SamplingParams,
        seed: int,
        places: Sequence[int] | None = None,
    ) -> AheadDraw:
        """Start to draw as :meth:`generate` does, from the current weights, while the policy trains on.

        All ranks call it together. It waits for an earlier draw to finish, and new weights wait for this one.

        Raises:
            ValueError: If the engine cannot sample while the policy trains, and as in :meth:`generate`.
        """
        return self.draws.ahead(prompt_ids, num_generations, sampling, seed, places)

    def save_pretrained(
        self, path: str | Path, torch_dtype: str | None = None, merged: PreTrainedModel | None = None
    ) -> None:
        """Write the model (safetensors), its configuration and the tokenizer, to be loaded with transformers.

        A policy with adapters writes only the adapters, to be loaded with peft.

        Args:
            path: Folder to write to; created if it does not exist.
            torch_dtype: Data type of the written weights, such as ``"bfloat16"``; by default their own.
            merged: Model with merged adapters, to write instead of them; it is converted to ``torch_dtype`` in place.
        """
        save_policy(self, path, torch_dtype, merged)

    def save_plain(self, path: str | Path, torch_dtype: str | None = None, with_adapters: bool = True) -> None:
        """Write a model without adapters and without tied weights, and its tokenizer, for other programs to load.

        Args:
            path: As in :meth:`save_pretrained`.
            torch_dtype: As in :meth:`save_pretrained`.
            with_adapters: Whether adapters are merged into the written weights, or left out of them.

        Raises:
            ValueError: If there are adapters, and the weights are quantised or sharded.
        """
        save_plain(self, path, torch_dtype, with_adapters)

    @cached_property
    def _closing(self) -> list[int]:
        return closing_tokens(self.tokenizer)
