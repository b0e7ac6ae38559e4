"""Time of the update alone, ours beside that of TRL's ``GRPOTrainer`` and of a plain one, on the same sequences.

python -m benchmarks.update --vocab-size 2000 --output update.json

Responses are given, not drawn. Before anything is timed the gradients of all contestants are compared.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.optim import AdamW
from transformers import AutoModelForCausalLM

import lightning_gft as gft
from benchmarks import harness, ours
from benchmarks.harness import StepLog
from benchmarks.job import Job, describe, given_job, model_and_workplace, sides

LEAST_COSINE, MOST_NORM_DIFFERENCE = 0.9999, 1e-2


def main(args: Sequence[str] | None = None) -> int:
    """Compare gradients, time the contestants, print a table and write the record; return 1 if gradients differ."""
    options = harness.command_line(
        *(__doc__, "update", args),
        **{"size": "tiny", "prompts": 8, "group_size": 8, "prompt_length": 128, "mean_response": 64},
        **{"flat_share": 0.5, "vocab_size": None, "rows_per_pass": 8, "rounds": 3, "steps": 2, "warmup": 1},
    )
    lengths = (1, 2 * options.mean_response - 1)
    results = seconds = None
    with model_and_workplace(options) as (model, workplace):
        job = given_job(options, model, workplace, options.prompts, lengths, options.flat_share)
        gradients = compare_gradients(job)
        harness.print_table("gradients beside ours", gradients)
        if agree(gradients):
            turns = harness.take_turns(contestants(job), options.rounds, options.device, warmup_steps=options.warmup)
            results, seconds = harness.compare_times(turns), harness.steps_of(turns)
            for name, logs in turns.items():
                passed, padding = (logs[0].steps[0][what] for what in ("tokens", "padding"))
                results[name] |= {"tokens_through_model": passed, "padding_share": round(padding / passed, 3)}
            harness.print_table(f"update, {options.size}, {options.device}", results)
    settings = {name: side.settings(job) for name, side in sides().items()}
    figures = {"sides": settings, "gradients": gradients, "results": results, "seconds": seconds}
    harness.write_record(options, work=describe(job), **figures)
    return 0 if results else 1


class PaddedPolicy(gft.PretrainedPolicy):
    """Loads a policy that is never packed: rows are padded, and none shares anything."""

    def load(self, keep_reference: bool = False) -> gft.Policy:
        """Return the policy."""
        policy = super().load(keep_reference)
        policy.longest_pack = 0
        return policy


def train_padded(job: Job, log: StepLog) -> None:
    ours.train(job, log, policy=ours.load(job, PaddedPolicy))


def train_plain(job: Job, log: StepLog) -> None:
    """Train as one would with transformers alone: padded rows and all their logits."""
    device = torch.device(job.device)
    model = AutoModelForCausalLM.from_pretrained(job.model, dtype=getattr(torch, job.dtype)).to(device).train()
    if job.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    tokenizer = job.tokenizer
    log.watch(model, tokenizer.pad_token_id)
    optimizer = AdamW(model.parameters(), lr=job.learning_rate, weight_decay=0.01)
    rows = [(tokenizer.encode(text), ids) for text, responses in job.responses.items() for ids in responses]
    advantages = _advantages(job, tokenizer).to(device)
    total = sum(len(ids) for _, ids in rows)
    for _ in range(job.steps):
        with log.step():
            for start in range(0, len(rows), job.rows_per_pass):
                index = slice(start, start + job.rows_per_pass)
                input_ids, attention_mask, response_mask = (
                    part.to(device) for part in _pad(rows[index], tokenizer.pad_token_id)
                )
                with torch.autocast(device.type, torch.bfloat16, enabled=job.autocast):
                    logits = model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits[:, :-1]
                logprobs = logits.float().log_softmax(dim=-1).gather(2, input_ids[:, 1:, None]).squeeze(2)
                loss = -(advantages[index, None] * logprobs * response_mask[:, 1:]).sum() / total
                loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), job.max_grad_norm or float("inf"))
            log.before_optimizer(model)
            optimizer.step()
            optimizer.zero_grad()


def contestants(job: Job) -> dict[str, Callable[[StepLog], None]]:
    """Return what trains, by the names that the record shows."""
    libraries = {name: side.train for name, side in sides().items()}
    trains = {**libraries, "ours, padded": train_padded, "plain": train_plain}
    return {name: partial(train, job) for name, train in trains.items()}


def compare_gradients(job: Job) -> dict[str, dict[str, float]]:
    """Return how far each other gradient is from ours: one step in float32, not clipped."""
    # In full precision activations of a large model may not fit on a GPU, and checkpointing changes no gradient.
    exact = replace(job, steps=1, autocast=False, max_grad_norm=None, gradient_checkpointing=job.device == "cuda")
    turns = harness.take_turns(contestants(exact), 1, job.device, keep_gradient=True)
    gradients = {name: logs[0].gradient for name, logs in turns.items()}
    return {name: similarity(gradients[name], gradients["ours"]) for name in gradients if name != "ours"}


def similarity(one: dict[str, Tensor], other: dict[str, Tensor]) -> dict[str, float]:
    """Return the cosine of two gradients and the norm of the one over that of the other.

    Example:
        >>> similarity({"a": torch.tensor([3.0]), "b": torch.tensor([4.0])}, {"a": torch.tensor([1.0])})
        Traceback (most recent call last):
        ...
        ValueError: only one of the gradients has b
    """
    if odd := one.keys() ^ other.keys():
        raise ValueError(f"only one of the gradients has {', '.join(sorted(odd))}")
    product = sum(float((one[name].double() * other[name].double()).sum()) for name in one)
    norms = [sum(float(part.double().square().sum()) for part in side.values()) ** 0.5 for side in (one, other)]
    return {"cosine": round(product / (norms[0] * norms[1]), 8), "norm_ratio": round(norms[0] / norms[1], 6)}


def agree(gradients: dict[str, dict[str, float]]) -> bool:
    """Say whether all did the same work; a factor common to all of a gradient would be another normaliser."""
    return all(
        row["cosine"] > LEAST_COSINE and abs(row["norm_ratio"] - 1) < MOST_NORM_DIFFERENCE for row in gradients.values()
    )


def _advantages(job: Job, tokenizer: Any) -> Tensor:
    """``[N]``, standardised within each group."""
    groups = []
    for text, responses in job.responses.items():
        rewards = torch.tensor(job.score([text] * len(responses), [tokenizer.decode(ids) for ids in responses]))
        groups.append((rewards - rewards.mean()) / (rewards.std() + ours.ADVANTAGE_EPS))
    return torch.cat(groups)


def _pad(rows: list[tuple[list[int], list[int]]], pad_token_id: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return token ids and the masks of all tokens and of the responses, padded on the right."""
    ids = [[*prompt, *response] for prompt, response in rows]
    attended = [[1] * len(row) for row in ids]
    responded = [[0] * len(prompt) + [1] * len(response) for prompt, response in rows]
    input_ids, attention_mask, response_mask = (
        pad_sequence([torch.tensor(row) for row in part], batch_first=True, padding_value=fill)
        for part, fill in ((ids, pad_token_id), (attended, 0), (responded, 0))
    )
    return input_ids, attention_mask, response_mask


if __name__ == "__main__":
    sys.exit(main())
