"""Find tasks of reasoning-gym that a model half knows, with short prompts and responses.

python -m benchmarks.study.scan --model FOLDER --tasks all --prompts 16 --samples 8 --output scan.jsonl

A task is a name (its defaults), `chain_sum@1` (that level of its curriculum) or `spell_backward{"max_word_len": 4}`
(settings of its own). Each is a line of the output as soon as it is measured; a task that has its line is not measured
again. What is worth training on has a mean between 0.2 and 0.6 that is well above the share of its commonest answer.
`likelihood` is the mean probability of the demonstration: what samples would score if no other text were right. It
costs one short pass, so a first scan of everything takes `--samples 0`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.progress import track

from benchmarks.harness import print_table
from benchmarks.study.lines import append, read
from lightning_gft import GymTask, PretrainedPolicy, ReasoningGymDataModule, ReasoningGymReward, SamplingParams
from lightning_gft.errors import GFTError, GFTValueError
from lightning_gft.functional import pass_at_k
from lightning_gft.policy import Policy
from lightning_gft.rollout import TransformersEngine
from lightning_gft.types import PromptBatch, Response, pad_sequences

SYSTEM_PROMPT, RESPONSE_PREFIX = "Give only the final answer.", "The answer is:"
"""Which make a small model answer at once."""
_SHOWN = (
    "likelihood",
    "mean",
    "pass@k",
    "greedy",
    "commonest",
    "prompt_tokens",
    "response_tokens",
    "expert_tokens",
    "clipped",
)


def main(args: Sequence[str] | None = None) -> int:
    """Measure one task after the other, and print those that came out between the limits."""
    options = _command_line(args)
    torch.set_num_threads(options.threads)
    try:
        tasks = dict(map(read_task, known_tasks() if options.tasks == ["all"] else options.tasks))
        rows = {row["task"]: row for row in read(options.output)}
        scan = Scan(options)
        ends = time.monotonic() + 60 * options.minutes
        for name, task in track(tasks.items(), description="scan", disable=not sys.stdout.isatty()):
            if name not in rows and time.monotonic() < ends:
                rows[name] = scan.measure(name, task)
                append(options.output, rows[name])
        scan.close()
    except GFTError as error:
        sys.exit(str(error))
    key = "mean" if options.samples else "likelihood"
    found = [row for row in rows.values() if options.least <= row.get(key, -1) <= options.most]
    found.sort(key=lambda row: -row[key])
    print_table("half known", {row["task"]: {name: row[name] for name in _SHOWN if name in row} for row in found})
    return 0


def known_tasks() -> list[str]:
    """Return every task of reasoning-gym, with its defaults and at the lowest level of its curriculum."""
    from reasoning_gym.factory import CURRICULA, DATASETS

    names = sorted(DATASETS.keys() - {"composite"})
    return [*names, *(f"{name}@0" for name in names if name in CURRICULA)]


def read_task(text: str) -> tuple[str, GymTask]:
    """Return a task as the command line writes it, by that name.

    Args:
        text: A name, with a level or with settings of its own.

    Raises:
        ValueError: If level or settings cannot be read.

    Example:
        >>> read_task("chain_sum@1")[1]
        GymTask(task='chain_sum', weight=1.0, config=None, levels=1)
    """
    try:
        if "{" in text:
            name, brace, rest = text.partition("{")
            return text, GymTask(name, config=json.loads(brace + rest))
        name, at, level = text.partition("@")
        return text, GymTask(name, levels=int(level) if at else None)
    except ValueError as error:
        raise GFTValueError(
            f'`tasks`: expected a name, a name@level or a name{{"setting": value}}, got {text!r} ({error}); correct it'
        ) from error


class Scan:
    """A model and the way in which it is asked.

    Args:
        options: Of the command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        engine = TransformersEngine(max_batch_size=options.batch_size)
        self.policy: Policy = PretrainedPolicy(options.model, torch_dtype=options.dtype, rollout=engine).load()
        self.reward = ReasoningGymReward(answer_template=options.answer_template, workers=1)

    def measure(self, name: str, task: GymTask) -> dict[str, Any]:
        """Return a task's row: what it is like, and unless it is too long, how the model does.

        Args:
            name: What the row calls it.
            task: The task.
        """
        began = time.monotonic()
        row: dict[str, Any] = {"task": name, **self._settings()}
        try:
            row |= self._figures(self._prompts(task))
        except (GFTError, RuntimeError) as error:  # a task that cannot be had is a row, too
            row["skipped"] = str(error).splitlines()[0][:300]
        return {**row, "seconds": round(time.monotonic() - began, 1)}

    def close(self) -> None:
        """End what has been started."""
        self.reward.close()

    def _settings(self) -> dict[str, Any]:
        names = ("prompts", "samples", "max_new_tokens", "system_prompt", "response_prefix", "expert_template")
        return {name: getattr(self.options, name) for name in names}

    def _prompts(self, task: GymTask) -> PromptBatch:
        options = self.options
        data = ReasoningGymDataModule(
            {"task": task},
            size=options.prompts,
            val_size=0,
            test_size=0,
            expert_template=options.expert_template,
            system_prompt=options.system_prompt,
            response_prefix=options.response_prefix,
            batch_size=options.prompts,
            shuffle=False,
            seed=options.seed,
        )
        data.tokenizer = self.policy.tokenizer
        data.setup("fit")
        return next(iter(data.train_dataloader()))

    def _figures(self, batch: PromptBatch) -> dict[str, Any]:
        answers, prompts = batch.columns["answer"], batch.prompt_ids
        experts = [own[0].token_ids for own in batch.demonstrations["expert"] if own]
        figures: dict[str, Any] = {
            "prompt_tokens": _mean(list(map(len, prompts))),
            "expert_tokens": _mean(list(map(len, experts))),
            "commonest": round(Counter(answers).most_common(1)[0][1] / len(answers), 3),
        }
        longest = max(map(len, experts)) > self.options.max_new_tokens
        if longest or len(experts) < len(prompts) or max(map(len, prompts)) > self.options.max_prompt_tokens:
            return {**figures, "skipped": "too long"}
        figures["likelihood"] = self._likelihood(prompts, experts)
        return figures | self._sampled(batch) if self.options.samples else figures

    def _likelihood(self, prompts: list[list[int]], experts: list[list[int]]) -> float:
        sequences = pad_sequences(prompts, experts, self.policy.pad_token_id, self.policy.device)
        logprobs, _ = self.policy.token_logprobs(sequences, max_tokens=2048)
        return round(logprobs.sum(dim=1).exp().mean().item(), 3)

    def _sampled(self, batch: PromptBatch) -> dict[str, Any]:
        count, sampling = self.options.samples, SamplingParams(max_new_tokens=self.options.max_new_tokens)
        drawn = self.policy.generate(batch.prompt_ids, count, sampling, self.options.seed, with_greedy=True)
        right = self._right(batch, drawn)
        sampled = [response for responses in drawn for response in responses[1:]]
        num_correct = torch.tensor([sum(scores[1:]) for scores in right])
        passed = pass_at_k(torch.full_like(num_correct, count), num_correct, count)
        return {
            "mean": round(num_correct.float().mean().item() / count, 3),
            "pass@k": round(passed.float().mean().item(), 3),
            "greedy": _mean([scores[0] for scores in right]),
            "response_tokens": _mean([len(response.token_ids) for response in sampled]),
            "clipped": _mean([not response.finished for response in sampled]),
            "mixed_groups": round(((num_correct > 0) & (num_correct < count)).float().mean().item(), 3),
            "examples": [
                [prompt[-200:], answer, *(self.policy.decode(each.token_ids) for each in responses[:4])]
                for prompt, answer, responses in list(zip(batch.prompts, batch.columns["answer"], drawn, strict=True))[
                    :2
                ]
            ],
        }

    def _right(self, batch: PromptBatch, drawn: list[list[Response]]) -> list[list[int]]:
        count = len(drawn[0])
        repeated = {name: [value for value in values for _ in range(count)] for name, values in batch.columns.items()}
        scores = self.reward(
            prompts=[prompt for prompt in batch.prompts for _ in range(count)],
            responses=[self.policy.decode(each.token_ids) for responses in drawn for each in responses],
            references=[reference for reference in batch.references for _ in range(count)],
            **{name: values for name, values in repeated.items() if name not in ("prompts", "responses", "references")},
        )
        flat = [int(score == 1.0) for score in list(scores)]
        return [flat[start : start + count] for start in range(0, len(flat), count)]


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 3) if values else 0.0


def _command_line(args: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--model", required=True, help="folder or hub name")
    add("--tasks", nargs="+", default=["all"], help="tasks, or `all`")
    add("--output", type=Path, required=True, help="file of rows; what it has is not measured again")
    add("--prompts", type=int, default=16, help="prompts a task")
    add("--samples", type=int, default=8, help="samples a prompt; 0 measures the likelihood alone")
    add("--max-new-tokens", type=int, default=24, help="longest response; a task with a longer answer is passed over")
    add("--max-prompt-tokens", type=int, default=256, help="a task with a longer prompt is passed over")
    add("--system-prompt", default=SYSTEM_PROMPT, help="asks for the answer's form")
    add("--response-prefix", default=RESPONSE_PREFIX, help="what every response begins with")
    add("--answer-template", default="{answer}", help="where a response has its answer")
    add("--expert-template", default=" {answer}", help="how a demonstration writes it")
    add("--minutes", type=float, default=30.0, help="no task begins after that")
    add("--least", type=float, default=0.2, help="mean of the tasks that are shown")
    add("--most", type=float, default=0.6, help="mean of the tasks that are shown")
    add("--batch-size", type=int, default=128, help="responses in flight")
    add("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the weights")
    add("--threads", type=int, default=1, help="threads that compute")
    add("--seed", type=int, default=0, help="of questions and samples")
    return parser.parse_args(args)


if __name__ == "__main__":
    sys.exit(main())
