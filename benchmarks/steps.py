"""What a training notes of its steps, and how several trainings take turns."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.contest import summarize, wait
from benchmarks.setting import Device


class StepLog:
    """Seconds and tokens of each step, and on demand the gradient of the first.

    Beside the time that passed it notes the processors' time, all threads together: on a machine with other work to do
    that still tells what a step costs.

    Args:
        device: With ``"cuda"`` a step ends when the GPU is done.
        keep_gradient: Whether to keep the gradient.
    """

    def __init__(self, device: Device = "cpu", keep_gradient: bool = False) -> None:
        self.device = device
        self.seconds: list[float] = []
        self.cpu_seconds: list[float] = []
        self.figures: list[dict[str, float]] = []
        self.tokens: list[int] = []
        self.padding: list[int] = []
        self.gradient: dict[str, Tensor] = {}
        self._keep_gradient = keep_gradient
        self._started = self._cpu_started = 0.0

    def watch(self, model: nn.Module, pad_token_id: int) -> None:
        """Count what goes through a model with gradient, now and from now on.

        Args:
            model: A causal language model of transformers.
            pad_token_id: What rows are filled up with.
        """
        body: Any = model.base_model

        def count(_: nn.Module, args: tuple[Any, ...], inputs: dict[str, Any]) -> None:
            if torch.is_grad_enabled():
                input_ids = inputs["input_ids"] if "input_ids" in inputs else args[0]
                self.tokens[-1] += input_ids.numel()
                self.padding[-1] += int((input_ids == pad_token_id).sum())

        body.register_forward_pre_hook(count, with_kwargs=True)

    def begin(self) -> None:
        """Begin a step."""
        self.tokens.append(0)
        self.padding.append(0)
        wait(self.device)
        self._started, self._cpu_started = time.perf_counter(), time.process_time()

    def before_optimizer(self, model: nn.Module) -> None:
        """Take note that gradients are there.

        Args:
            model: What has them.
        """
        if self._keep_gradient and not self.gradient:
            named = model.named_parameters()
            self.gradient = {
                name: weight.grad.float().cpu().clone() for name, weight in named if weight.grad is not None
            }

    def end(self) -> None:
        """End a step."""
        wait(self.device)
        self.seconds.append(time.perf_counter() - self._started)
        self.cpu_seconds.append(time.process_time() - self._cpu_started)


Training = Callable[[StepLog, int], None]
"""A short training of so many steps that notes each of them."""


def take_turns(
    trainings: dict[str, Training],
    rounds: int,
    steps: int,
    warmup: int,
    device: Device,
    keep_gradient: bool = False,
) -> dict[str, list[StepLog]]:
    """Train one after the other, round after round, so that what else the machine does hits all of them alike.

    Args:
        trainings: By names.
        rounds: How often each has its turn.
        steps: Steps of a turn that count.
        warmup: Steps of a turn before these.
        device: Where they train.
        keep_gradient: Whether to keep the gradient of each turn's first step.
    """
    logs: dict[str, list[StepLog]] = {name: [] for name in trainings}
    for _ in range(rounds):
        for name, train in trainings.items():
            gc.collect()  # of the training before
            log = StepLog(device, keep_gradient)
            train(log, warmup + steps)
            for notes in (log.seconds, log.cpu_seconds, log.figures, log.tokens, log.padding):
                del notes[:warmup]
            logs[name].append(log)
    return logs


def compare_times(logs: dict[str, list[StepLog]], ours: str) -> dict[str, dict[str, float]]:
    """Return what :func:`benchmarks.contest.summarize` does, and the same ratio in processor time.

    Args:
        logs: From :func:`take_turns`.
        ours: Name of the contestant that the others are compared with.
    """
    passed, used = (summarize(seconds, ours) for seconds in (seconds_of(logs), cpu_seconds_of(logs)))
    return {
        name: {**row, "cpu_s": used[name]["median_s"], "ours_over_its_cpu": used[name]["ours_over_it"]}
        for name, row in passed.items()
    }


def seconds_of(logs: dict[str, list[StepLog]]) -> dict[str, list[float]]:
    """Return the seconds of all steps.

    Args:
        logs: From :func:`take_turns`.
    """
    return {name: [second for turn in turns for second in turn.seconds] for name, turns in logs.items()}


def cpu_seconds_of(logs: dict[str, list[StepLog]]) -> dict[str, list[float]]:
    """Return the processor time of all steps.

    Args:
        logs: From :func:`take_turns`.
    """
    return {name: [second for turn in turns for second in turn.cpu_seconds] for name, turns in logs.items()}
