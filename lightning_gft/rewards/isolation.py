"""Calling a reward so that nothing it does to its inputs or to the process outlives the call."""

from __future__ import annotations

import copy
import os
import random
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lightning_gft.rewards.base import Reward


def call_reward(title: str, reward: Reward, batch: Mapping[str, Sequence[Any]]) -> Any:
    """Return what a reward makes of copies of a batch, and put back what it changes in the process.

    Its random draws follow from the responses, so that a resumed run draws the same and the run's own are untouched.
    """
    process, environment = os.getpid(), dict(os.environ)
    before = [setting.read() for setting in _SETTINGS]
    try:
        with _randomness(batch["responses"]):
            return reward(**{name: [_copied(value) for value in values] for name, values in batch.items()})
    finally:
        if os.getpid() != process:
            _leave(title)
        _put_back(title, before)
        _warn_of_environment(title, environment)


@dataclass(frozen=True)
class _Setting:
    """Something that a whole process shares."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], Any]


_SETTINGS = (
    _Setting("the gradient mode", torch.is_grad_enabled, torch.set_grad_enabled),
    _Setting("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype),
    _Setting("torch's default device", torch.get_default_device, torch.set_default_device),
    _Setting("the working directory", os.getcwd, os.chdir),
    _Setting("sys.stdout", lambda: sys.stdout, lambda stream: setattr(sys, "stdout", stream)),
    _Setting("sys.stderr", lambda: sys.stderr, lambda stream: setattr(sys, "stderr", stream)),
)


def _put_back(title: str, before: list[Any]) -> None:
    changed = [(setting, was) for setting, was in zip(_SETTINGS, before, strict=True) if setting.read() != was]
    for setting, was in changed:
        setting.write(was)
    if changed:
        names = ", ".join(setting.name for setting, _ in changed)
        _warn(f"{title} changed {names} for the whole process, which has been put back")


def _warn_of_environment(title: str, before: Mapping[str, str]) -> None:
    """Name environment variables that changed; they stay, as libraries keep notes there when they are first used."""
    names = sorted(name for name in {*before, *os.environ} if before.get(name) != os.environ.get(name))
    if names:
        _warn(f"{title} changed environment variables for the whole process: {', '.join(names)}")


def _warn(message: str) -> None:
    from lightning.pytorch.utilities import rank_zero_warn  # slow to import, and a worker seldom needs it

    rank_zero_warn(message)


def _leave(title: str) -> None:
    """End a process that the reward forked and that came back from it: a second training run must not begin."""
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


def _copied(value: Any) -> Any:
    """Return a value that shares nothing with the given one; what data files hold is copied without much ado."""
    kind = type(value)
    if kind in (str, int, float, bool, type(None)):
        return value
    if kind is list:
        return [_copied(entry) for entry in value]
    if kind is dict:
        return {key: _copied(entry) for key, entry in value.items()}
    return copy.deepcopy(value)
