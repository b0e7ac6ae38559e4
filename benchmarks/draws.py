"""The same responses drawn in several ways."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, Literal

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel, Qwen2Config

from benchmarks.setting import SHAPES
from lightning_gft import ArithmeticPolicy, SamplingParams, TransformersEngine
from lightning_gft.lm.decoding.stopping import EndTokens
from lightning_gft.seeds import spawn_seeds
from lightning_gft.types import Response

Lengths = Literal["even", "ragged"]
OURS = "ours"
_PAD = 0


@dataclass(frozen=True)
class Work:
    """Prompts, a model, and how responses end.

    Args:
        size: Name of an architecture, or ``"arithmetic"`` for the policy that comes with the package.
        device: Where.
        prompts: How many.
        group_size: Responses a prompt.
        prompt_length: Tokens of the longest prompt.
        response_length: Tokens of the longest response.
        lengths: ``"even"``: every prompt and response has its full length. ``"ragged"``: prompts have between half and
            all of it, and of the vocabulary so many tokens end a response that its mean is near half of the longest.
        seed: Of weights, prompts and draws.
    """

    size: str
    device: str
    prompts: int
    group_size: int
    prompt_length: int
    response_length: int
    lengths: Lengths
    seed: int

    @cached_property
    def model(self) -> PreTrainedModel:
        """Random weights, made in memory; bfloat16 on a GPU and float32 on a CPU, which is slow in another."""
        torch.manual_seed(self.seed)
        if self.size == "arithmetic":
            return ArithmeticPolicy().load().model.to(self.device).eval()
        config = Qwen2Config(**SHAPES[self.size], pad_token_id=_PAD, bos_token_id=None, eos_token_id=None)
        with torch.device(self.device):
            model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=self._dtype)
        model.generation_config = GenerationConfig(pad_token_id=_PAD)
        return model.eval()

    @cached_property
    def prompt_ids(self) -> list[list[int]]:
        """Tokens drawn at random, none of them a pad."""
        draw = random.Random(self.seed)
        shortest = self.prompt_length if self.lengths == "even" else (self.prompt_length + 1) // 2
        words = range(1, self.model.config.vocab_size)
        return [draw.choices(words, k=draw.randint(shortest, self.prompt_length)) for _ in range(self.prompts)]

    @cached_property
    def end(self) -> EndTokens:
        """Tokens that end a response: one that there is not, or a share of all, as a random model draws all alike."""
        words = self.model.config.vocab_size
        share = round(2 * words / self.response_length) if self.lengths == "ragged" else 0
        return EndTokens(tuple(range(1, 1 + share)) or (words,), _PAD)

    @property
    def _dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.device == "cuda" else torch.float32

    @contextmanager
    def in_float32(self) -> Iterator[None]:
        """Within this context the weights are in float32."""
        self.model.float()
        yield
        self.model.to(self._dtype)

    def responses(self, greedy: bool) -> list[list[Response]]:
        """Draw with our engine; greedily one to each prompt.

        Args:
            greedy: Whether to take the likeliest tokens.
        """
        count = 1 if greedy else self.group_size
        sampling = SamplingParams(self.response_length, temperature=0.0 if greedy else 1.0)
        seeds = spawn_seeds(self.seed, self.prompts * count)
        return TransformersEngine().generate(self.model, self.prompt_ids, count, sampling, seeds, self.end)

    def settings(self, greedy: bool, **more: Any) -> GenerationConfig:
        """Return the same for transformers.

        Args:
            greedy: Whether to take the likeliest tokens, one response to each prompt.
            **more: Further settings.
        """
        how = {"do_sample": False} if greedy else {"do_sample": True, "num_return_sequences": self.group_size}
        return GenerationConfig(
            **({**how, "temperature": 1.0, "top_p": 1.0, "top_k": 0} if not greedy else how),
            max_new_tokens=self.response_length,
            eos_token_id=list(self.end.eos_token_ids),
            pad_token_id=_PAD,
            **more,
        )


def _ours(work: Work, greedy: bool) -> list[list[int]]:
    return [response.token_ids for response in chain.from_iterable(work.responses(greedy))]


def _generate(work: Work, greedy: bool, **more: Any) -> list[list[int]]:
    width = max(map(len, work.prompt_ids))
    padded = [[_PAD] * (width - len(ids)) + ids for ids in work.prompt_ids]
    mask = [[0] * (width - len(ids)) + [1] * len(ids) for ids in work.prompt_ids]
    rows = work.model.generate(
        torch.tensor(padded, device=work.device),
        attention_mask=torch.tensor(mask, device=work.device),
        generation_config=work.settings(greedy, **more),
    )
    return [_cut(row, work.end) for row in rows[:, width:].tolist()]


def _static(work: Work, greedy: bool) -> list[list[int]]:
    """With memory for the keys and values taken in advance, which on a GPU compiles the model too."""
    return _generate(work, greedy, cache_implementation="static")


def _continuous(work: Work, greedy: bool) -> list[list[int]]:
    """Without left padding, responses that have ended making way for others, prompts shared in pages."""
    if work.device == "cpu":
        raise RuntimeError("on a CPU two prompts of eight tokens did not come back within a minute")
    drawn = work.model.generate_batch(inputs=work.prompt_ids, generation_config=work.settings(greedy))
    if failed := [output.error for output in drawn.values() if output.error]:
        raise RuntimeError(failed[0])
    return [output.generated_tokens for output in drawn.values()]


def _cut(row: list[int], end: EndTokens) -> list[int]:
    """Return a response up to where it ended."""
    ends = set(end.eos_token_ids)
    return row[: next((place for place, token in enumerate(row, 1) if token in ends), len(row))]


CONTESTANTS: dict[str, Callable[..., list[list[int]]]] = {
    "generate": _generate,
    OURS: _ours,
    "generate, static cache": _static,
    "continuous batching": _continuous,
}
"""By name what draws; the first is what the others have to agree with."""
