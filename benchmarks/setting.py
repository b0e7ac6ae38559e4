"""What a measurement is of: the same for both sides, so that they differ in nothing but the library."""

from __future__ import annotations

import zlib
from dataclasses import asdict, dataclass
from typing import Any, Literal

Side = Literal["ours", "peer"]
Size = Literal["minuscule", "tiny", "small", "1.5b", "7b"]
Device = Literal["cpu", "cuda"]
Method = Literal["full", "lora", "qlora"]

SHAPES: dict[str, dict[str, Any]] = {
    "minuscule": {  # for the tests
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "vocab_size": 512,
        "tie_word_embeddings": True,
    },
    "tiny": {
        "hidden_size": 256,
        "intermediate_size": 1024,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 32000,
        "tie_word_embeddings": True,
    },
    "small": {  # 36 million weights
        "hidden_size": 512,
        "intermediate_size": 2048,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "vocab_size": 8000,
        "tie_word_embeddings": True,
    },
    "1.5b": {
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "tie_word_embeddings": True,
    },
    "7b": {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
        "tie_word_embeddings": False,
    },
}
"""Fields of transformers' ``Qwen2Config``; the large ones are those of Qwen2.5."""

LENGTHS = {
    "minuscule": (8, 8),
    "tiny": (128, 256),
    "small": (128, 256),
    "1.5b": (512, 1024),
    "7b": (512, 1024),
}
"""Tokens of a prompt and of a response, where none are given."""


@dataclass(frozen=True)
class Setting:
    """One measurement.

    Args:
        size: Name of the architecture.
        device: Where to train.
        method: All weights, adapters, or adapters on 4-bit weights.
        group_size: Responses a prompt.
        prompts: Prompts a training step.
        prompt_length: Tokens of each prompt.
        response_length: Tokens of each response.
        rows_per_pass: Sequences that go through the model at once with gradient.
        steps: Optimizer steps. Adam's state comes with the first, so only from the second on is it there all along.
        seed: Of the weights and of the samples.
        vocab_size: Words, if not the architecture's: tells how much of a figure the output head makes.
    """

    size: Size = "tiny"
    device: Device = "cpu"
    method: Method = "lora"
    group_size: int = 8
    prompts: int = 1
    prompt_length: int = 128
    response_length: int = 256
    rows_per_pass: int = 1
    steps: int = 2
    seed: int = 0
    vocab_size: int | None = None

    @property
    def shape(self) -> dict[str, Any]:
        """Fields of the model's configuration."""
        words = {} if self.vocab_size is None else {"vocab_size": self.vocab_size}
        return {**SHAPES[self.size], **words}

    @property
    def rows(self) -> int:
        """Sequences of a step."""
        return self.prompts * self.group_size

    @property
    def response_tokens(self) -> int:
        """Tokens to train on in all steps, if no response ends by itself."""
        return self.steps * self.rows * self.response_length

    @property
    def dtype(self) -> Literal["float32", "bfloat16"]:
        """Data type of the weights in memory: float32 where they train, and on a CPU, which is slow in another."""
        return "bfloat16" if self.device == "cuda" and self.method != "full" else "float32"

    @property
    def autocast(self) -> bool:
        """Whether products are taken in bfloat16."""
        return self.device == "cuda"

    @property
    def learning_rate(self) -> float:
        """Of a usual size for the method; it has no part in memory."""
        return 1e-6 if self.method == "full" else 1e-4

    @property
    def optimizer(self) -> Literal["AdamW", "PagedAdamW8bit"]:
        """That of PyTorch, but of bitsandbytes with quantised weights."""
        return "PagedAdamW8bit" if self.method == "qlora" else "AdamW"

    def texts(self) -> list[str]:
        """Return prompts of ``prompt_length`` tokens, one for each prompt of each step."""
        first, words = 3, self.shape["vocab_size"] - 3
        return [
            " ".join(f"w{first + (number + position) % words}" for position in range(self.prompt_length))
            for number in range(self.prompts * self.steps)
        ]

    def describe(self) -> dict[str, Any]:
        """Return all of it for the record."""
        derived = ("dtype", "autocast", "learning_rate", "optimizer", "response_tokens")
        return {**asdict(self), **{name: getattr(self, name) for name in derived}}


def text_score(text: str) -> float:
    """Return a reward that differs between any two responses, so that each has an advantage and none is left out.

    Args:
        text: The response.
    """
    return zlib.crc32(text.encode()) / 2**32
