"""The phases of real runs: shares of the time between two rows, validation apart."""

from __future__ import annotations

from typing import Any

import pytest
from lightning.pytorch.callbacks import Callback

from lightning_gft import DemonstrationTeacher, Evaluation, SelfSource, TeacherSource
from lightning_gft.phases import PHASES, Phase, PhaseClock, phase
from lightning_gft.training import RUN_NAMES
from lightning_gft.training.clock import RunClock
from tests.module.runs import ROWS, DigitSum, Rows, fit, make_module

SHARES = [name for name in RUN_NAMES if name.startswith("time/")]


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class SlowReward(DigitSum):
    """Moves the time by 3 seconds a call, in training and in validation."""

    def __init__(self, time: Time) -> None:
        super().__init__()
        self.time = time
        self.clock = PhaseClock()
        self.phases: list[Phase | None] = []

    def __call__(self, **columns: Any) -> Any:
        self.time.now += 3
        self.phases.append(self.clock.current()[0])
        return super().__call__(**columns)


class Between(Callback):
    """Moves the time by a second after each step, and keeps what was logged."""

    def __init__(self, time: Time) -> None:
        self.time = time
        self.logged: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        self.logged.append({name: float(trainer.callback_metrics.get(f"train/{name}", -1)) for name in RUN_NAMES})
        self.time.now += 1


def run(**settings: Any) -> tuple[list[dict[str, float]], SlowReward]:
    time = Time()
    reward, between = SlowReward(time), Between(time)
    module = make_module(reward=reward, evaluation=Evaluation(num_samples=1, max_new_tokens=2, kl=False))
    reward.clock, module.clock.now = module.clock, time
    fit(module, Rows(batch_size=1, val_rows=ROWS), callbacks=[between], max_steps=4, **settings)
    return between.logged, reward


def test_shares_are_of_the_time_since_the_row_before_without_validation():
    logged, reward = run(log_every_n_steps=2, val_check_interval=1)
    assert logged[0] == dict.fromkeys(RUN_NAMES, -1)
    assert [row["time/reward"] for row in logged[1::2]] == pytest.approx([6 / 7, 6 / 8])  # a second after each step
    for row in logged[1::2]:
        assert all(row[name] == 0 for name in SHARES if name != "time/reward")
    assert set(reward.phases) == {"reward", "validation"}


def test_a_run_goes_through_its_phases():
    """Each part enters its own; the clock ends with the run, however it ends."""
    seen: list[Phase | None] = []

    class Watched(RunClock):
        def enter(self, name: Phase) -> None:
            super().enter(name)
            seen.append(self.current()[0])

    own = SelfSource(2, max_new_tokens=4, teacher=DemonstrationTeacher("{prompt}{demonstration}=", "teacher"))
    module = make_module(sources={"own": own, "teacher": TeacherSource(4)})
    module.clock = module.rows._clock = Watched()
    metrics = fit(module, Rows(val_rows=ROWS), log_every_n_steps=1).callback_metrics
    assert set(seen) == set(PHASES)
    assert module.clock.current() == (None, 0)
    total = sum(float(metrics[f"train/{name}"]) for name in SHARES)
    assert 0 < total <= 1
    outside = PhaseClock()
    with outside.running(), phase("reward"):
        assert module.clock.current() == (None, 0)


def test_a_run_that_fails_ends_its_clock():
    class Broken(DigitSum):
        def __call__(self, **columns: Any) -> Any:
            if module.trainer.validating or module.trainer.global_step:
                raise ValueError("no scores")
            return super().__call__(**columns)

    module = make_module(reward=Broken())
    with pytest.raises(RuntimeError, match="no scores"):
        fit(module, Rows(batch_size=1, val_rows=ROWS), val_check_interval=1)
    assert module.clock.current() == (None, 0)
    before = module.clock.read()
    with phase("reward"):
        pass
    assert module.clock.read() == before


def test_memory_is_that_of_the_process():
    metrics = fit(make_module(), log_every_n_steps=1).callback_metrics
    assert 0.05 < float(metrics["train/memory_gb"]) < 64
