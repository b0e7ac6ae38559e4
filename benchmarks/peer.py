"""The peer's side of a measurement: TRL's ``GRPOTrainer``, set to save memory as its users would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from torch import Tensor
from transformers import BitsAndBytesConfig, TrainerCallback
from trl import GRPOTrainer  # type: ignore[attr-defined] # it is there, lazily

from benchmarks.meter import Meter
from benchmarks.setting import Setting, text_score
from benchmarks.trl_side import ALIKE, configure, load_tokenizer


class MeteredTrainer(GRPOTrainer):
    """Counts what it trains on.

    Args:
        meter: Takes notes.
        arguments: The trainer's.
    """

    def __init__(self, meter: Meter, **arguments: Any) -> None:
        self.meter = meter
        super().__init__(**arguments)

    def compute_loss(self, model: Any, inputs: dict[str, Tensor], *args: Any, **kwargs: Any) -> Any:
        """Return the loss of a micro-batch."""
        self.meter.count(inputs["completion_mask"])
        return super().compute_loss(model, inputs, *args, **kwargs)


class Watch(TrainerCallback):
    """Tells a meter when the model is loaded."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    def on_train_begin(self, *_: Any, model: Any = None, **__: Any) -> None:
        """Begin."""
        self.meter.loaded(model)


def score(completions: list[str], **_: Any) -> list[float]:
    """Return rewards; see :func:`benchmarks.setting.text_score`."""
    return [text_score(text) for text in completions]


def settings(setting: Setting) -> dict[str, Any]:
    """Return the arguments of ``GRPOConfig``, for the record too.

    Args:
        setting: The measurement.
    """
    return {
        **ALIKE,
        "model_init_kwargs": {"dtype": setting.dtype},
        "gradient_checkpointing": True,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "bf16": setting.autocast,
        "use_cpu": setting.device == "cpu",
        "per_device_train_batch_size": setting.rows_per_pass,
        "gradient_accumulation_steps": setting.rows // setting.rows_per_pass,
        "num_generations": setting.group_size,
        "max_completion_length": setting.response_length,
        "optim": "adamw_torch" if setting.optimizer == "AdamW" else "paged_adamw_8bit",
        "learning_rate": setting.learning_rate,
        "max_grad_norm": 1.0,
        "max_steps": setting.steps,
        "seed": setting.seed,
    }


def train(setting: Setting, model: Path, workplace: Path, meter: Meter) -> None:
    """Train for the steps of a measurement.

    Args:
        setting: The measurement.
        model: Folder of the model.
        workplace: Folder to write to.
        meter: Takes notes.
    """
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    adapter = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = MeteredTrainer(
        meter,
        model=str(model),
        args=configure(workplace, settings(setting)),
        reward_funcs=score,
        train_dataset=Dataset.from_list([{"prompt": text} for text in setting.texts()]),
        processing_class=load_tokenizer(model),
        peft_config=None if setting.method == "full" else adapter,
        quantization_config=quantization if setting.method == "qlora" else None,
        callbacks=[Watch(meter)],
    )
    trainer.train()
