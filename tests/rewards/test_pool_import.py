"""What a task's module does when a worker imports it."""

import importlib
import re

import pytest

from lightning_gft.rewards import RewardError
from lightning_gft.rewards.pool import WorkerPool

ENOUGH = 120
"""Seconds that only a hang needs."""

AT_IMPORT = {
    "raise KeyError('boom')": r"could not be loaded: raised KeyError in <module>, .*made_up_.*py:\d+: 'boom'",
    "os._exit(5)": "did not start: its process ended",
    "time.sleep(600)": r"did not start: its process took longer than 0\.3 s",
}


@pytest.fixture
def made_up(tmp_path, monkeypatch):
    def make(statement):
        """Return a task whose module does something when a worker imports it."""
        text = f"import os, sys, threading, time\nif 'pytest' not in sys.modules:\n    {statement}\n"
        name = "made_up_" + re.sub(r"\W", "_", tmp_path.name)
        (tmp_path / f"{name}.py").write_text(f"{text}\ndef task(item):\n    return threading.active_count()\n")
        monkeypatch.syspath_prepend(tmp_path)
        return importlib.import_module(name).task

    return make


@pytest.mark.parametrize("statement", AT_IMPORT)
def test_a_task_that_cannot_be_imported_is_one_error(made_up, monkeypatch, statement):
    if "sleep" in statement:
        for module in ("pool", "workers.round"):
            monkeypatch.setattr(f"lightning_gft.rewards.{module}.START_SECONDS", 0.3)
    with WorkerPool(made_up(statement), seconds=ENOUGH, workers=2) as pool:
        for _ in range(2):
            with pytest.raises(RewardError, match=AT_IMPORT[statement]):
                pool.map([1, 2])
            assert not pool.is_running


def test_a_task_that_starts_threads_when_it_is_imported_has_them_in_each_worker(made_up):
    task = made_up("threading.Thread(target=time.sleep, args=(600,), daemon=True).start()")
    with WorkerPool(task, seconds=ENOUGH, workers=2) as pool:
        assert pool.map([1, 2]) == [2, 2]
