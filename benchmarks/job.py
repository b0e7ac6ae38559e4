"""What is trained, the same for every contestant: a model on disk, prompts, responses and their scores."""

from __future__ import annotations

import importlib.util
import sys
import zlib
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen2Config

_FIELDS = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"),
    *("vocab_size", "tie_word_embeddings"),
)
SHAPES: dict[str, tuple[Any, ...]] = {
    "tiny": (256, 1024, 4, 4, 2, 32000, True),
    "minuscule": (64, 128, 2, 2, 1, 512, True),  # for the tests
    "small": (512, 2048, 8, 8, 4, 8000, True),
    "1.5b": (1536, 8960, 28, 12, 2, 151936, True),  # Qwen2.5's
    "7b": (3584, 18944, 28, 28, 4, 152064, False),
}
"""Fields of transformers' ``Qwen2Config``, by size."""
SIDES = {"ours": "benchmarks.ours", "TRL": "benchmarks.peer"}
"""Modules with ``settings(job)`` and ``train(job, log)``; they import their library, so each is imported when used."""
ARITHMETIC = Path(str(files("lightning_gft.arithmetic") / "assets/arithmetic"))
"""The model that comes with the package."""
_SPECIAL = ("<pad>", "<eos>", "<unk>")
_PAD, _EOS, _ = range(len(_SPECIAL))


@dataclass(frozen=True)
class Job:
    """A short training."""

    model: Path  # folder
    workplace: Path  # folder to write to
    batches: list[list[dict[str, Any]]]  # rows of each step, with `prompt` and `answer`; then the first comes again
    score: Callable[..., Any]  # of prompts, responses and references; a number for each response
    group_size: int  # responses a prompt
    response_length: int  # most tokens of a response
    steps: int
    device: str = "cpu"
    responses: dict[str, list[list[int]]] = field(default_factory=dict)  # by prompt; without any the policy draws them
    method: str = "full"  # or lora: rank 16, every linear layer but the head; or qlora: the same on nf4 weights
    dtype: str = "float32"  # of the weights
    autocast: bool = False  # to bfloat16
    gradient_checkpointing: bool = False
    max_grad_norm: float | None = 1.0
    updates_per_batch: int = 1  # on the responses of a step
    rows_per_pass: int = 8  # sequences that a peer runs through the model at once with gradient
    micro_batch_tokens: int = 16384  # tokens that ours does
    optimizer: str = "AdamW"  # PyTorch's; or bitsandbytes' PagedAdamW8bit
    learning_rate: float = 1e-6
    seed: int = 0

    @property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The model's; the automatic choice goes by the model's type, and would not read our words."""
        tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(self.model, padding_side="left")
        return tokenizer


@dataclass(frozen=True)
class Scores:
    """Scores that differ between any two responses, except for prompts with equal scores throughout."""

    flat: frozenset[str] = frozenset()

    def __call__(self, prompts: Sequence[str], responses: Sequence[str], references: Any = None) -> list[float]:
        """Return a number for each response."""
        pairs = zip(prompts, responses, strict=True)
        return [0.5 if prompt in self.flat else zlib.crc32(text.encode()) / 2**32 for prompt, text in pairs]


def sides() -> dict[str, Any]:
    """Return those modules of :data:`SIDES` that have their library installed."""
    here = {name: module for name, module in SIDES.items() if name != "TRL" or importlib.util.find_spec("trl")}
    if here.keys() != SIDES.keys():
        print("TRL does not run: it is not installed; pip install '.[bench]'", file=sys.stderr)
    return {name: importlib.import_module(module) for name, module in here.items()}


@contextmanager
def model_and_workplace(options: Namespace) -> Iterator[tuple[Path, Path]]:
    """Give a folder with a random model of ``options.size`` and an empty one, for the time being."""
    with TemporaryDirectory() as folder:
        model, workplace = Path(folder, "model"), Path(folder, "work")
        workplace.mkdir()
        write_model(model, options.size, options.seed, options.vocab_size)
        yield model, workplace


def write_model(folder: Path, size: str, seed: int, vocab_size: int | None = None) -> None:
    """Write configuration, random bfloat16 weights and a tokenizer of one word for each id."""
    shape = dict(zip(_FIELDS, SHAPES[size], strict=True))
    special: dict[str, Any] = {"pad_token_id": _PAD, "eos_token_id": _EOS, "bos_token_id": None}
    words = vocab_size or shape["vocab_size"]
    config = Qwen2Config(**{**shape, "vocab_size": words}, **special, max_position_embeddings=32768)
    torch.manual_seed(seed)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):  # billions of numbers take a CPU minutes
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    with torch.no_grad():
        # Every token's state has a large first entry, for which every word but the end asks: no response ends.
        for weight in (model.get_input_embeddings().weight, model.get_output_embeddings().weight):
            weight[:, 0], weight[_EOS, 0] = 1, -1
    model.save_pretrained(folder)
    vocabulary = [*_SPECIAL, *(f"w{number}" for number in range(len(_SPECIAL), words))]
    pad, eos, unknown = _SPECIAL
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(vocabulary)}, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=pad, eos_token=eos, unk_token=unknown)
    wrapped.save_pretrained(folder)


def texts(count: int, length: int, vocab_size: int) -> list[str]:
    """Return different prompts of ``length`` tokens each."""
    first, words = len(_SPECIAL), vocab_size - len(_SPECIAL)
    return [" ".join(f"w{first + (number + place) % words}" for place in range(length)) for number in range(count)]


def given_job(
    options: Namespace, model: Path, workplace: Path, prompts: int, lengths: tuple[int, int], flat_share: float = 0.0
) -> Job:
    """Return a training on responses of tokens from the seed, in every step the same, each length as likely.

    In a ``flat_share`` of the groups all responses are alike in worth, so that their advantages are 0.
    """
    random, words = Random(options.seed), options.vocab_size or SHAPES[options.size][5]
    ids = range(len(_SPECIAL), words)
    given = {
        text: [random.choices(ids, k=random.randint(*lengths)) for _ in range(options.group_size)]
        for text in texts(prompts, options.prompt_length, words)
    }
    return Job(
        model=model,
        workplace=workplace,
        batches=[[{"prompt": text, "answer": ""} for text in given]],
        score=Scores(frozenset(list(given)[: round(flat_share * prompts)])),
        group_size=options.group_size,
        response_length=lengths[1],
        steps=options.warmup + options.steps,
        device=options.device,
        responses=given,
        autocast=options.device == "cuda",
        rows_per_pass=vars(options).get("rows_per_pass", 8),
        seed=options.seed,
    )


def describe(job: Job) -> dict[str, int]:
    """Return how many tokens there are in given responses; informative are those in groups with advantages."""
    rows = [(text, len(text.split()), len(ids)) for text, responses in job.responses.items() for ids in responses]
    return {
        "sequences": len(rows),
        "tokens": sum(prompt + response for _, prompt, response in rows),
        "response_tokens": sum(response for *_, response in rows),
        "informative_tokens": sum(prompt + response for text, prompt, response in rows if text not in job.score.flat),
    }
