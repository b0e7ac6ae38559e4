"""Rollouts by the model in training, with transformers' key-value cache."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedModel
from typing_extensions import override

from lightning_gft.checks import check_count
from lightning_gft.lm.decoding.decoder import Decoder
from lightning_gft.lm.decoding.stopping import EndTokens
from lightning_gft.rollout.engine import RolloutEngine, seeds_of_prompts
from lightning_gft.sampling import SamplingParams
from lightning_gft.types import Response


class TransformersEngine(RolloutEngine):
    """Generates with the model in training: nothing is copied, and the weights are always current.

    Each prompt is prefilled once for all of its responses. Prompts of similar length share a batch, and finished
    responses leave it. With transformers' ``sdpa`` attention a prompt's keys and values are also stored once.

    Args:
        max_batch_size: Largest number of responses that are sampled at once, which bounds the memory of the key-value
            cache.

    Raises:
        ValueError: If ``max_batch_size`` is below 1.
        TypeError: If it is not a whole number.

    Example:
        >>> TransformersEngine(max_batch_size=256).max_batch_size
        256
    """

    def __init__(self, max_batch_size: int = 1024) -> None:
        self.max_batch_size = check_count("max_batch_size", max_batch_size)

    @override
    def generate(
        self,
        model: PreTrainedModel,
        prompt_ids: Sequence[Sequence[int]],
        num_generations: int,
        sampling: SamplingParams,
        seeds: Sequence[int],
        end: EndTokens,
        with_greedy: bool = False,
    ) -> list[list[Response]]:
        by_prompt = seeds_of_prompts(seeds, len(prompt_ids), num_generations, with_greedy)
        responses: list[list[Response]] = [[] for _ in prompt_ids]
        by_length = sorted(range(len(prompt_ids)), key=lambda i: len(prompt_ids[i]))
        count = num_generations + with_greedy
        responses_a_prompt = min(count, self.max_batch_size)
        prompts_a_batch = self.max_batch_size // responses_a_prompt
        for chosen in (
            by_length[start : start + prompts_a_batch] for start in range(0, len(by_length), prompts_a_batch)
        ):
            for first in range(0, count, responses_a_prompt):
                seeds_by_prompt = [by_prompt[i][first : first + responses_a_prompt] for i in chosen]
                flat = [seed for seeds_of_one in seeds_by_prompt for seed in seeds_of_one]
                drawn = iter(Decoder(model, [prompt_ids[i] for i in chosen], flat, sampling, end).run())
                for i, seeds_of_one in zip(chosen, seeds_by_prompt, strict=True):
                    responses[i] += [next(drawn) for _ in seeds_of_one]
        return responses
