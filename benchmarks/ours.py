"""Our side of a measurement."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.optim import AdamW, Optimizer

from benchmarks.lightning_side import fit
from benchmarks.meter import Meter
from benchmarks.setting import Setting, text_score
from lightning_gft import (
    Evaluation,
    GFTLitModule,
    GFTLoss,
    GroupBatch,
    GroupDataModule,
    GroupSampler,
    PretrainedPolicy,
    Reward,
    SelfSource,
)
from lightning_gft.policy.adapters import LoRA
from lightning_gft.policy.quantization import Quantization


class TextScore(Reward):
    """See :func:`benchmarks.setting.text_score`."""

    def __call__(
        self, *, prompts: Sequence[str], responses: Sequence[str], references: Sequence[Any], **columns: Sequence[Any]
    ) -> Tensor:
        """Return ``[N]`` scores."""
        return torch.tensor([text_score(response) for response in responses])


class Watch(Callback):
    """Tells a meter when the model is loaded, and what it trains on."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin."""
        policy: Any = pl_module.policy
        policy.register_forward_pre_hook(self._count)
        self.meter.loaded(policy)

    def _count(self, _: Any, inputs: tuple[Any, ...]) -> None:
        groups = inputs[0]
        assert isinstance(groups, GroupBatch)  # noqa: S101 (what a policy is called with)
        self.meter.count(groups.response_mask)


def settings(setting: Setting) -> dict[str, Any]:
    """Return what is ours alone to set, for the record.

    Args:
        setting: The measurement.
    """
    return {
        "library": "lightning_gft",
        "gradient_checkpointing": True,
        "precision": "bf16-mixed" if setting.autocast else "32-true",
        "micro_batch_tokens": setting.rows_per_pass * (setting.prompt_length + setting.response_length),
        "evaluation.kl": False,  # no frozen copy, as the peer keeps none at beta=0
    }


def train(setting: Setting, model: Path, workplace: Path, meter: Meter) -> None:
    """Train for the steps of a measurement.

    Args:
        setting: The measurement.
        model: Folder of the model.
        workplace: Folder to write to.
        meter: Takes notes.
    """
    seed_everything(setting.seed, verbose=False)
    own = settings(setting)
    rows = workplace / "prompts.jsonl"
    rows.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in setting.texts()))
    module = GFTLitModule(
        policy=PretrainedPolicy(
            str(model),
            torch_dtype=setting.dtype,
            gradient_checkpointing=own["gradient_checkpointing"],
            lora=None if setting.method == "full" else LoRA(r=16, alpha=32),
            quantization=Quantization(compute_dtype="bfloat16") if setting.method == "qlora" else None,
        ),
        sampler=GroupSampler(
            sources={"self": SelfSource(setting.group_size, max_new_tokens=setting.response_length)},
            rewards={"score": TextScore()},
        ),
        loss=GFTLoss(),
        optimizer=lambda parameters: _optimizer(setting, parameters),
        evaluation=Evaluation(kl=own["evaluation.kl"]),
        micro_batch_tokens=own["micro_batch_tokens"],
    )
    data = GroupDataModule(
        str(rows), answer_column=None, max_prompt_length=setting.prompt_length, batch_size=setting.prompts
    )
    fit(
        module,
        data,
        Watch(meter),
        device=setting.device,
        autocast=setting.autocast,
        steps=setting.steps,
        workplace=workplace,
    )


def _optimizer(setting: Setting, parameters: Any) -> Optimizer:
    if setting.optimizer == "AdamW":
        return AdamW(parameters, lr=setting.learning_rate, weight_decay=0.01)
    bitsandbytes: Any = importlib.import_module("bitsandbytes.optim")
    optimizer: Optimizer = bitsandbytes.PagedAdamW8bit(parameters, lr=setting.learning_rate, weight_decay=0.01)
    return optimizer
