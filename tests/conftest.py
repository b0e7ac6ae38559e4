"""What every test is run under; it imports little, since the process that hands out tests to others reads it too."""

from __future__ import annotations

import gc
import os
import random
import signal
from collections.abc import Generator, Iterable, Iterator
from typing import Any

import pytest

LAUNCHED_BY = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE")
SEED = 58_631  # unlike the small seeds that tests choose themselves, so that no two draws are the same by accident


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Let the garbage collector leave alone the objects of modules and tests, which live until the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()  # cycles that became garbage meanwhile, which freezing would keep
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_collect_file() -> Generator[None, list[pytest.Collector], list[pytest.Collector]]:
    """Look for docstring examples in the package alone; test files have none, and there are as many of them."""
    return [collector for collector in (yield) if type(collector) is pytest.Module]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Give a test and its fixtures the same random numbers, whatever its process ran before."""
    import numpy as np
    import torch

    random.seed(SEED)
    np.random.seed(SEED)
    torch.manual_seed(SEED)


@pytest.fixture(autouse=True)
def _no_launcher() -> Iterator[None]:
    """Take away what Lightning's launcher leaves in the environment, where a child process would wait for ranks."""
    before = {name: os.environ[name] for name in LAUNCHED_BY if name in os.environ}
    yield
    for name in LAUNCHED_BY:
        os.environ.pop(name, None)
    os.environ.update(before)


@pytest.fixture(autouse=True, scope="session")
def _interruptible() -> None:
    """Let Ctrl-C interrupt, which a shell turns off for what it runs in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _usual_terminal() -> None:
    """Let tests and the processes that they start see the same kind of terminal everywhere."""
    os.environ["TERM"] = "xterm"
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"):
        os.environ.pop(name, None)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    import torch  # takes seconds

    torch.set_num_threads(1)  # more threads only slow models this small down


def quick(cases: Iterable[Any], *kept: Any) -> list[Any]:
    """Return the cases of a broad grid, of which those that are not kept are slow: `make test-all` runs them."""
    cases = list(cases)
    assert set(kept) < set(cases), "each kept case is one of the grid"
    return [case if case in kept else pytest.param(case, marks=pytest.mark.slow) for case in cases]
