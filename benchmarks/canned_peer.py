"""TRL's update on given work."""

from __future__ import annotations

from collections import Counter
from typing import Any

from benchmarks import trl_side
from benchmarks.steps import StepLog
from benchmarks.work import Job, token_ids


def settings(job: Job) -> dict[str, Any]:
    """Return the arguments of ``GRPOConfig``, for the record too.

    Args:
        job: The training.
    """
    setting = job.setting
    return {
        **trl_side.ALIKE,
        "loss_type": "dapo",  # its default: the mean over all tokens of the step, as ours
        "model_init_kwargs": {"dtype": setting.dtype},
        "gradient_checkpointing": job.gradient_checkpointing,
        "bf16": job.autocast,
        "use_cpu": setting.device == "cpu",
        "per_device_train_batch_size": setting.rows_per_pass,
        "gradient_accumulation_steps": setting.rows // setting.rows_per_pass,
        "num_generations": setting.group_size,
        "max_completion_length": setting.response_length,
        "optim": "adamw_torch",
        "learning_rate": setting.learning_rate,
        "max_grad_norm": job.max_grad_norm or 0.0,  # 0 does not clip
        "max_steps": job.steps,
        "seed": setting.seed,
    }


def train(job: Job, log: StepLog) -> None:
    """Train on responses that are handed out in place of generation.

    Args:
        job: The training.
        log: Takes notes.
    """

    def roll_out(prompts: list[str], _: Any) -> dict[str, Any]:
        seen: Counter[str] = Counter()
        completions = []
        for text in prompts:  # each as often as it has responses
            completions.append(job.work.of(text)[seen[text]])
            seen[text] += 1
        return {"prompt_ids": [token_ids(text) for text in prompts], "completion_ids": completions, "logprobs": None}

    def score(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
        return job.work.scores(prompts, completions)

    rows = [{"prompt": text} for text in job.work.prompts]
    trl_side.train(job.model, rows, score, settings(job), job.workplace, log, rollout_func=roll_out)
