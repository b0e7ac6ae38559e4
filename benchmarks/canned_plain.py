"""The update on given work, written down with transformers alone: padded rows and all their logits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW
from transformers import AutoModelForCausalLM

from benchmarks.canned_ours import ADVANTAGE_EPS
from benchmarks.steps import StepLog
from benchmarks.work import Job, Work, token_ids


def settings(job: Job) -> dict[str, Any]:
    """Return what the record says.

    Args:
        job: The training.
    """
    return {"library": "transformers", "rows_per_pass": job.setting.rows_per_pass, "autocast": job.autocast}


def train(job: Job, log: StepLog) -> None:
    """Train.

    Args:
        job: The training.
        log: Takes notes.
    """
    setting, device = job.setting, torch.device(job.setting.device)
    model = AutoModelForCausalLM.from_pretrained(job.model, dtype=setting.dtype).to(device).train()
    if job.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    pad_token_id = model.config.pad_token_id
    log.watch(model, pad_token_id)
    optimizer = AdamW(model.parameters(), lr=setting.learning_rate, weight_decay=0.01)
    rows = [(token_ids(text), ids) for text in job.work.prompts for ids in job.work.of(text)]
    advantages = _advantages(job.work).to(device)
    total = sum(len(ids) for _, ids in rows)
    for _ in range(job.steps):
        log.begin()
        for start in range(0, len(rows), setting.rows_per_pass):
            index = slice(start, start + setting.rows_per_pass)
            input_ids, attention_mask, response_mask = (part.to(device) for part in _pad(rows[index], pad_token_id))
            with torch.autocast(device.type, torch.bfloat16, enabled=job.autocast):
                logits = model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits[:, :-1]
            logprobs = logits.float().log_softmax(dim=-1).gather(2, input_ids[:, 1:, None]).squeeze(2)
            loss = -(advantages[index, None] * logprobs * response_mask[:, 1:]).sum() / total
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), job.max_grad_norm or float("inf"))
        log.before_optimizer(model)
        optimizer.step()
        optimizer.zero_grad()
        log.end()


def _advantages(work: Work) -> Tensor:
    """``[N]``, standardised within each group."""
    groups = []
    for text in work.prompts:
        responses = [" ".join(f"w{number}" for number in ids) for ids in work.of(text)]
        rewards = torch.tensor(work.scores([text] * len(responses), responses))
        groups.append((rewards - rewards.mean()) / (rewards.std() + ADVANTAGE_EPS))
    return torch.cat(groups)


def _pad(rows: list[tuple[list[int], list[int]]], pad_token_id: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return token ids and the masks of all tokens and of the responses, filled up on the right."""
    width = max(len(prompt) + len(response) for prompt, response in rows)
    positions = torch.arange(width)
    prompt_lengths = torch.tensor([[len(prompt)] for prompt, _ in rows])
    lengths = torch.tensor([[len(prompt) + len(response)] for prompt, response in rows])
    padded = [[*prompt, *response, *[pad_token_id] * width][:width] for prompt, response in rows]
    attention_mask = positions < lengths
    return torch.tensor(padded), attention_mask.long(), attention_mask & (positions >= prompt_lengths)
