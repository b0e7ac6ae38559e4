"""How far the log-probabilities of sampling and of training are apart, token by token, for each way to hold a policy.

Run it from the root of the repository: ``python -m benchmarks.sampling_difference``. It samples the small policy that
comes with the package, with adapters that are not zero, and scores the same tokens as training does.
"""

from __future__ import annotations

from importlib.resources import files

import torch
from rich.console import Console
from rich.table import Table

from lightning_gft import (
    ArithmeticDataModule,
    ExactMatchReward,
    GroupSampler,
    LoRA,
    PretrainedPolicy,
    Quantization,
    RewardAdvantage,
    SelfSource,
)

LORA = LoRA(r=8)
SETTINGS = {
    "float32": {"torch_dtype": "float32"},
    "float32, LoRA": {"torch_dtype": "float32", "lora": LORA},
    "bfloat16, LoRA": {"torch_dtype": "bfloat16", "lora": LORA},
    "bfloat16, LoRA, fp32_head": {"torch_dtype": "bfloat16", "lora": LORA, "fp32_head": True},
    "NF4, rest float32": {"torch_dtype": "float32", "lora": LORA, "quantization": Quantization()},
    "NF4, rest bfloat16": {"torch_dtype": "bfloat16", "lora": LORA, "quantization": Quantization()},
    "NF4, computed in float32": {
        "torch_dtype": "float32",
        "lora": LORA,
        "quantization": Quantization(compute_dtype="float32"),
    },
    "8 bits, rest float32": {"torch_dtype": "float32", "lora": LORA, "quantization": Quantization(bits=8)},
}


def differences(settings: dict[str, object]) -> torch.Tensor:
    """Return the absolute differences of all sampled tokens."""
    path = str(files("lightning_gft.arithmetic") / "assets")
    torch.manual_seed(0)
    policy = PretrainedPolicy(path, **settings).load()  # type: ignore[arg-type]
    for name, weight in policy.named_parameters():
        if "lora_B" in name:  # which begins at zero, as if there were no adapter
            torch.nn.init.normal_(weight, std=0.02)
    data = ArithmeticDataModule(num_train=32, batch_size=32)
    data.tokenizer = policy.tokenizer
    data.setup("predict")
    sampler = GroupSampler(
        {"self": SelfSource(8, max_new_tokens=48)}, {"accuracy": ExactMatchReward(marker="#")}, RewardAdvantage()
    )
    groups = sampler.sample(next(iter(data.predict_dataloader()[0])), policy, seed=0)
    # Not the scoring in evaluation mode, but the pass that training takes.
    policy.train()
    scored = policy(groups, lambda logprobs, _: torch.zeros_like(logprobs), torch.tensor(1.0)).logprobs
    assert groups.sampling_logprobs is not None  # noqa: S101 (just sampled)
    return (scored.float() - groups.sampling_logprobs[groups.response_mask]).abs()


def main() -> None:
    """Print a row for each setting."""
    table = Table("policy", "tokens", "mean", "99th percentile", "largest")
    for name, settings in SETTINGS.items():
        apart = differences(settings)
        figures = apart.mean(), apart.quantile(0.99), apart.max()
        table.add_row(name, str(len(apart)), *(f"{figure.item():.1e}" for figure in figures))
    Console(soft_wrap=True).print(table)


if __name__ == "__main__":
    main()
