"""The peer's side: TRL's ``GRPOTrainer``, set to do what our module does by default."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from datasets import Dataset
from transformers import BitsAndBytesConfig, PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer  # type: ignore[attr-defined] # they are there, lazily

from benchmarks.harness import StepLog
from benchmarks.job import Job

_FIGURES = ("reward", "completions/mean_length")


class NoteSteps(TrainerCallback):
    """Notes each training step in a log: a rollout, and all updates on it."""

    def __init__(self, log: StepLog, pad_token_id: int, updates_per_batch: int) -> None:
        self.log = log
        self.pad_token_id = pad_token_id
        self.updates_per_batch = updates_per_batch

    def on_train_begin(self, *_: Any, model: Any = None, **__: Any) -> None:
        """The model is loaded."""
        self.log.watch(model, self.pad_token_id)

    def on_step_begin(self, args: Any, state: Any, *_: Any, **__: Any) -> None:
        """Begin a step with the first update on a rollout."""
        if state.global_step % self.updates_per_batch == 0:
            self.log.begin()

    def on_pre_optimizer_step(self, *_: Any, model: Any = None, **__: Any) -> None:
        """Gradients are there."""
        self.log.before_optimizer(model)

    def on_step_end(self, args: Any, state: Any, *_: Any, **__: Any) -> None:
        """End a step with the last update on it."""
        if state.global_step % self.updates_per_batch == 0:
            self.log.end()

    def on_log(self, *_: Any, logs: dict[str, float] | None = None, **__: Any) -> None:
        """Take the figures of a rollout, which come with the first update on it."""
        if logs is not None and "reward" in logs:  # else it is a later update, or the summary at the end
            self.log.steps[-1] |= {name: float(logs[name]) for name in _FIGURES}


def settings(job: Job) -> dict[str, Any]:
    """Return the arguments of ``GRPOConfig``, for the record too."""
    rows = len(job.batches[0]) * job.group_size
    return {
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
        "beta": 0.0,
        "loss_type": "dapo",  # its default: the mean over all tokens of the step, as ours
        "num_iterations": job.updates_per_batch,
        "lr_scheduler_type": "constant",
        "weight_decay": 0.01,
        "use_liger_kernel": False,
        "use_vllm": False,
        "model_init_kwargs": {"dtype": job.dtype},
        "gradient_checkpointing": job.gradient_checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "bf16": job.autocast,
        "use_cpu": job.device == "cpu",
        "per_device_train_batch_size": job.rows_per_pass,
        "gradient_accumulation_steps": rows // job.rows_per_pass,
        "num_generations": job.group_size,
        "max_completion_length": job.response_length,
        "shuffle_dataset": False,
        "optim": "adamw_torch" if job.optimizer == "AdamW" else "paged_adamw_8bit",
        "learning_rate": job.learning_rate,
        "max_grad_norm": job.max_grad_norm or 0.0,  # 0 does not clip
        "max_steps": job.steps * job.updates_per_batch,
        "seed": job.seed,
    }


def train(job: Job, log: StepLog) -> None:
    """Train, without what has no part in a measurement: reports, checkpoints, bars."""

    def hand_out(prompts: list[str], _: Any) -> dict[str, Any]:
        seen: Counter[str] = Counter()
        completions = []
        for text in prompts:  # each as often as it has responses
            completions.append(job.responses[text][seen[text]])
            seen[text] += 1
        return {"prompt_ids": tokenizer(prompts)["input_ids"], "completion_ids": completions, "logprobs": None}

    def score(prompts: list[str], completions: list[str], answer: list[str], **_: Any) -> list[float]:
        return [float(number) for number in job.score(prompts=prompts, responses=completions, references=answer)]

    tokenizer = job.tokenizer
    trainer = GRPOTrainer(
        model=str(job.model),
        args=GRPOConfig(
            output_dir=str(job.workplace),
            report_to="none",
            save_strategy="no",
            logging_steps=1,
            disable_tqdm=True,
            **settings(job),
        ),
        reward_funcs=score,
        train_dataset=Dataset.from_list([row for rows in job.batches for row in rows]),
        processing_class=tokenizer,
        callbacks=[NoteSteps(log, tokenizer.pad_token_id, job.updates_per_batch)],
        rollout_func=hand_out if job.responses else None,
        **_adapters(job),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()


def _adapters(job: Job) -> dict[str, Any]:
    if job.method == "full":
        return {}
    from peft import LoraConfig

    adapter = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
    nf4 = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return {"peft_config": adapter, "quantization_config": nf4 if job.method == "qlora" else None}
