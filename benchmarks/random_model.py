"""A model with random weights on disk, as if it had been downloaded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen2Config

from benchmarks.setting import Setting

_SHARD_BYTES = 4 * 2**30
_SPECIAL = ("<pad>", "<eos>", "<unk>")
_PAD, _EOS, _ = range(len(_SPECIAL))
_VOCABULARIES = ("embed_tokens.weight", "lm_head.weight")
"""Every token's embedding puts the same large number first, and every word but the end asks for it."""


def write_model(folder: Path, setting: Setting) -> None:
    """Write configuration, bfloat16 weights and tokenizer; the weights never lie in memory all at once.

    Args:
        folder: Where to; it exists.
        setting: What to.
    """
    config = Qwen2Config(
        **setting.shape,
        max_position_embeddings=32768,
        pad_token_id=_PAD,
        eos_token_id=_EOS,
        bos_token_id=None,
        architectures=["Qwen2ForCausalLM"],
        dtype="bfloat16",
    )
    config.save_pretrained(folder)
    _tokenizer(config.vocab_size).save_pretrained(folder)
    index = {name: file for file, names in _write_shards(folder, config, setting.seed) for name in names}
    torch.cuda.empty_cache()  # leaves what the weights were drawn in to those who measure
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


def _tokenizer(vocab_size: int) -> PreTrainedTokenizerFast:
    """One word for each id: what a random model draws can be decoded, and a prompt is as long as it has words."""
    pad, eos, unk = _SPECIAL
    words = [*_SPECIAL, *(f"w{number}" for number in range(len(_SPECIAL), vocab_size))]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token=unk))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=pad, eos_token=eos, unk_token=unk)


def _write_shards(folder: Path, config: Qwen2Config, seed: int) -> Iterator[tuple[str, list[str]]]:
    shard: dict[str, Tensor] = {}
    number = 0
    for name, weight in _weights(config, seed):
        shard[name] = weight
        if sum(tensor.nbytes for tensor in shard.values()) >= _SHARD_BYTES:
            yield _write_shard(folder, number, shard)
            shard, number = {}, number + 1
    if shard:
        yield _write_shard(folder, number, shard)


def _write_shard(folder: Path, number: int, shard: dict[str, Tensor]) -> tuple[str, list[str]]:
    file = f"model-{number:05}.safetensors"
    save_file(shard, folder / file, metadata={"format": "pt"})
    return file, list(shard)


def _weights(config: Qwen2Config, seed: int) -> Iterator[tuple[str, Tensor]]:
    """Yield what training from scratch would start from: normal matrices, norms of 1, biases of 0."""
    device = "cuda" if torch.cuda.is_available() else "cpu"  # billions of random numbers take a CPU minutes
    generator = torch.Generator(device).manual_seed(seed)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    for name, like in model.named_parameters():  # a tied head is not named twice
        if like.dim() > 1:
            weight = torch.empty(like.shape, dtype=torch.bfloat16, device=device)
            weight.normal_(std=config.initializer_range, generator=generator)
            if name.endswith(_VOCABULARIES):
                weight[:, 0], weight[_EOS, 0] = 1, -1  # so that no response ends by itself
        else:
            fill = 0.0 if name.endswith("bias") else 1.0
            weight = torch.full(like.shape, fill, dtype=torch.bfloat16)
        yield name, weight.cpu()
