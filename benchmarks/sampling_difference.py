"""How far the log-probabilities of sampling and of training are apart, token by token, for each way to hold a policy.

python -m benchmarks.sampling_difference

It samples the small policy that comes with the package, with adapters that are not zero, and scores the same tokens as
training does.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import lightning_gft as gft
from benchmarks.harness import print_table
from benchmarks.job import ARITHMETIC
from lightning_gft.types import TokenObjective

SETTINGS: dict[str, dict[str, Any]] = {
    "float32": {"lora": None},
    "float32, LoRA": {},
    "bfloat16, LoRA": {"torch_dtype": "bfloat16"},
    "bfloat16, LoRA, fp32_head": {"torch_dtype": "bfloat16", "fp32_head": True},
    "NF4, rest float32": {"quantization": gft.Quantization()},
    "NF4, rest bfloat16": {"torch_dtype": "bfloat16", "quantization": gft.Quantization()},
    "NF4, computed in float32": {"quantization": gft.Quantization(compute_dtype="float32")},
    "8 bits, rest float32": {"quantization": gft.Quantization(bits=8)},
}
"""Arguments of ``PretrainedPolicy``, beside adapters of rank 8."""


def differences(**settings: Any) -> Tensor:
    """Return the absolute differences of all sampled tokens."""
    torch.manual_seed(0)
    policy = gft.PretrainedPolicy(str(ARITHMETIC), **{"lora": gft.LoRA(r=8), **settings}).load()
    for name, weight in policy.named_parameters():
        if "lora_B" in name:  # which begins at zero, as if there were no adapter
            torch.nn.init.normal_(weight, std=0.02)
    data = gft.ArithmeticDataModule(num_train=32, batch_size=32)
    data.tokenizer = policy.tokenizer
    data.setup("predict")
    sampler = gft.GroupSampler(
        {"self": gft.SelfSource(8, max_new_tokens=48)},
        {"accuracy": gft.ExactMatchReward(marker="#")},
        gft.RewardAdvantage(),
    )
    groups = sampler.sample(next(iter(data.predict_dataloader()[0])), policy, seed=0)
    # Not the scoring in evaluation mode, but the pass that training takes.
    policy.train()
    tokens = groups.tokens()
    assert tokens.sampling_logprobs is not None  # noqa: S101 (just sampled)
    apart = torch.empty_like(tokens.sampling_logprobs)
    for micro_batch in policy.micro_batches(groups, max_tokens=16384):
        chunk = tokens[micro_batch.index]
        objective = TokenObjective(lambda known: torch.zeros_like(known.logprobs), chunk, normalizer=1.0)
        scored = policy(micro_batch, objective).logprobs
        apart[micro_batch.index] = (scored.float() - chunk.sampling_logprobs).abs()
    return apart


def main() -> None:
    """Print a row for each setting."""
    rows = {}
    for name, settings in SETTINGS.items():
        apart = differences(**settings)
        figures = {"mean": apart.mean(), "99th percentile": apart.quantile(0.99), "largest": apart.max()}
        rows[name] = {"tokens": len(apart), **{figure: f"{value.item():.1e}" for figure, value in figures.items()}}
    print_table("log-probabilities of sampling and of training", rows)


if __name__ == "__main__":
    main()
