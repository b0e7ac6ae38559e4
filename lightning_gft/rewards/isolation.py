"""Isolates the call of a reward: it cannot change its inputs or the state of the process."""

from __future__ import annotations

import copy
import os
import random
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from lightning_gft.rewards.base import Reward


def call_reward(title: str, reward: Reward, batch: Mapping[str, Sequence[Any]]) -> Any:
    """Call a reward with copies of a batch, return its result, and restore the state of the process.

    The responses seed its random draws, so that a resumed run draws the same, and the run's own draws are unaffected.
    """
    process, environment = os.getpid(), dict(os.environ)
    before = {name: read() for name, (read, _) in _SETTINGS.items()}
    try:
        with _randomness(batch["responses"]):
            return reward(**{name: [copy.deepcopy(value) for value in values] for name, values in batch.items()})
    finally:
        if os.getpid() != process:
            _leave(title)
        _put_back(title, before)
        _warn_of_environment(title, environment)


_SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "the gradient mode": (torch.is_grad_enabled, torch.set_grad_enabled),
    "torch's default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "torch's default device": (torch.get_default_device, torch.set_default_device),
    "the working directory": (os.getcwd, os.chdir),
    "sys.stdout": (lambda: sys.stdout, lambda stream: setattr(sys, "stdout", stream)),
    "sys.stderr": (lambda: sys.stderr, lambda stream: setattr(sys, "stderr", stream)),
}
"""State that a process shares, with the functions that read and write it."""


def _put_back(title: str, before: Mapping[str, Any]) -> None:
    changed = [name for name, (read, _) in _SETTINGS.items() if read() != before[name]]
    for name in changed:
        _SETTINGS[name][1](before[name])
    if changed:
        _warn(f"{title} changed {', '.join(changed)} for the whole process; the old state is restored")


def _warn_of_environment(title: str, before: Mapping[str, str]) -> None:
    """Warn of changed environment variables. They stay changed, as libraries store settings in them on first use."""
    names = sorted(name for name in {*before, *os.environ} if before.get(name) != os.environ.get(name))
    if names:
        _warn(f"{title} changed environment variables for the whole process: {', '.join(names)}")


def _warn(message: str) -> None:
    from lightning.pytorch.utilities import rank_zero_warn  # slow to import, and a worker seldom needs it

    rank_zero_warn(message)


def _leave(title: str) -> None:
    """End a process that the reward forked and that has returned here, before it starts a second training run."""
    sys.stderr.write(f"{title} forked a process that returned from it; it ends here, and must call os._exit itself\n")
    sys.stderr.flush()
    os._exit(1)


@contextmanager
def _randomness(responses: Sequence[str]) -> Iterator[None]:
    seed = zlib.crc32("\0".join(responses).encode("utf-8", "surrogatepass"))
    states = random.getstate(), np.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices):
        random.seed(seed)
        np.random.seed(seed)
        torch.default_generator.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
