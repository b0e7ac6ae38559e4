"""Sequences to train on that nobody has to draw: the same for every contestant, with rewards of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from benchmarks.setting import Setting, text_score

_FIRST_WORD = 3  # before it come padding, end of sequence and the unknown word


@dataclass(frozen=True)
class Work:
    """Prompts with their responses. No response ends by itself, and padding is no word of any.

    Args:
        prompts: Texts of ``P`` prompts.
        responses: For each prompt its ``K`` responses as token ids.
        flat: Prompts whose responses are all worth the same, so that their advantages are 0.
    """

    prompts: list[str]
    responses: list[list[list[int]]]
    flat: frozenset[str]

    def of(self, prompt: str) -> list[list[int]]:
        """Return the responses to a prompt.

        Args:
            prompt: Its text.
        """
        return self.responses[self.prompts.index(prompt)]

    def scores(self, prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        """Return what responses are worth.

        Args:
            prompts: ``N`` prompt texts.
            responses: ``N`` response texts.
        """
        pairs = zip(prompts, responses, strict=True)
        return [0.5 if prompt in self.flat else text_score(response) for prompt, response in pairs]

    def describe(self) -> dict[str, int]:
        """Return how many tokens there are, for the record; informative are those in groups with advantages."""
        lengths = [(prompt, token_ids(prompt), len(ids)) for prompt in self.prompts for ids in self.of(prompt)]
        return {
            "sequences": len(lengths),
            "tokens": sum(len(ids) + length for _, ids, length in lengths),
            "response_tokens": sum(length for *_, length in lengths),
            "informative_tokens": sum(len(ids) + length for text, ids, length in lengths if text not in self.flat),
        }


@dataclass(frozen=True)
class Job:
    """A short training on given work.

    Args:
        setting: Model, device and how it is trained.
        work: What on.
        model: Folder of the model.
        workplace: Folder to write to.
        steps: Optimizer steps.
        exact: Whether to leave out what would blur a comparison of gradients: half precision and clipping.
    """

    setting: Setting
    work: Work
    model: Path
    workplace: Path
    steps: int
    exact: bool = False

    @property
    def autocast(self) -> bool:
        """Whether products are taken in bfloat16."""
        return self.setting.autocast and not self.exact

    @property
    def gradient_checkpointing(self) -> bool:
        """Whether to compute activations again: in full precision they may not fit, and it changes no gradient."""
        return self.setting.device == "cuda" and self.exact

    @property
    def max_grad_norm(self) -> float | None:
        """Where the gradient is clipped."""
        return None if self.exact else 1.0


def draw_work(setting: Setting, flat_share: float, shortest: int = 1) -> Work:
    """Draw responses of ``shortest`` to ``response_length`` words, each length as likely.

    Args:
        setting: What of; one step's prompts.
        flat_share: Share of the prompts whose responses are all worth the same.
        shortest: Words of the shortest response.
    """
    random, words = Random(setting.seed), range(_FIRST_WORD, setting.shape["vocab_size"])
    prompts = replace(setting, steps=1).texts()
    responses = [
        [random.choices(words, k=random.randint(shortest, setting.response_length)) for _ in range(setting.group_size)]
        for _ in prompts
    ]
    return Work(prompts, responses, frozenset(prompts[: round(flat_share * len(prompts))]))


def token_ids(text: str) -> list[int]:
    """Return the ids of a text in the words of :func:`benchmarks.random_model.write_model`.

    Args:
        text: Words such as ``w17``, with spaces between them.

    Example:
        >>> token_ids("w17 w4")
        [17, 4]
    """
    return [int(word.removeprefix("w")) for word in text.split()]
