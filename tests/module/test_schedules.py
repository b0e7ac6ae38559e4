"""Learning-rate schedules, as long as the run is."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR
from transformers import get_cosine_schedule_with_warmup

from lightning_gft import WarmupSchedule, schedules
from lightning_gft.cli import main
from lightning_gft.schedules import ChainedScheduler, Schedule, SequentialLR, as_schedule, make_scheduler
from tests.cli.command import SFT, SMALL, column, logged
from tests.module.runs import ROWS, Rows, fit, make_module


def rates(schedule: Schedule, num_steps: int = 6, lr: float = 1.0) -> list[float]:
    """Return the learning rate of each step of a run, and the one after it."""
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler = make_scheduler(schedule, optimizer, lambda: num_steps)
    seen = [optimizer.param_groups[0]["lr"]]
    for _ in range(num_steps):
        optimizer.step()
        scheduler.step()
        seen.append(optimizer.param_groups[0]["lr"])
    return seen


def cosine(step: int, steps: int, end: float = 0.0) -> float:
    return end + (1 - end) * (1 + math.cos(math.pi * step / steps)) / 2


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (WarmupSchedule("cosine", warmup_steps=2), [0, 0.5, *(cosine(step, 4) for step in range(5))]),
        (WarmupSchedule("cosine", warmup_ratio=0.3), [0, 0.5, *(cosine(step, 4) for step in range(5))]),
        (WarmupSchedule("cosine", min_lr_ratio=0.1), [cosine(step, 6, 0.1) for step in range(7)]),
        (WarmupSchedule("linear", 2), [0, 0.5, 1, 0.75, 0.5, 0.25, 0]),
        (WarmupSchedule("linear", 2, min_lr_ratio=0.2), [0, 0.5, 1, 0.8, 0.6, 0.4, 0.2]),
        (WarmupSchedule("linear", 2, min_lr_ratio=1.0), [0, 0.5, 1, 1, 1, 1, 1]),
        (WarmupSchedule("constant", 2), [0, 0.5, 1, 1, 1, 1, 1]),
        (WarmupSchedule("inverse_sqrt", 2), [0, 0.5, *(math.sqrt(2 / step) for step in range(2, 7))]),
        (
            WarmupSchedule("warmup_stable_decay", 2, decay_ratio=0.34, min_lr_ratio=0.1),
            [0.1, 0.55, 1, *(cosine(step, 3, 0.1) for step in range(4))],
        ),
    ],
)
def test_warm_up_and_decay(schedule: Schedule, expected: list[float]):
    assert rates(schedule) == pytest.approx(expected)
    for lr in (0.01, 0.0):
        assert rates(schedule, lr=lr) == pytest.approx([rate * lr for rate in expected])


def test_lengths_that_are_left_out_are_the_runs():
    cosines = [cosine(step, 6) for step in range(7)]
    assert rates(schedules.CosineAnnealingLR()) == pytest.approx(cosines)
    assert rates(schedules.PolynomialLR()) == pytest.approx([1 - step / 6 for step in range(7)])
    assert rates(schedules.get_cosine_schedule_with_warmup(num_warmup_steps=0)) == pytest.approx(cosines)
    assert rates(schedules.OneCycleLR(max_lr=1.0), 20)[6] == pytest.approx(1.0, abs=0.1)
    given = schedules.get_wsd_schedule(num_warmup_steps=1, num_stable_steps=2, num_decay_steps=1)
    assert rates(given)[:5] == pytest.approx([0, 1, 1, 1, 0], abs=1e-6)


def test_a_length_that_is_given_wins():
    assert rates(schedules.PolynomialLR(total_iters=3))[:4] == pytest.approx([1, 2 / 3, 1 / 3, 0])


def test_schedules_one_after_another_share_the_run():
    one = SequentialLR([schedules.LinearLR(start_factor=0.5), schedules.CosineAnnealingLR()], [2])
    assert rates(one) == pytest.approx([0.5, 0.75, *(cosine(step, 4) for step in range(5))])
    other = SequentialLR([partial(LinearLR, start_factor=0.5, total_iters=2), partial(CosineAnnealingLR, T_max=4)], [2])
    assert rates(other) == rates(one)


def test_schedules_at_the_same_time_are_multiplied():
    both = ChainedScheduler([schedules.PolynomialLR(), schedules.LinearLR(start_factor=0.5, total_iters=2)])
    assert rates(both) == pytest.approx([0.5, 0.75 * 5 / 6, 2 / 3, 1 / 2, 1 / 3, 1 / 6, 0], abs=1e-6)
    with pytest.raises(ValueError, match=r"lr_scheduler.schedulers`: .*got a LambdaLR"):
        rates(ChainedScheduler([schedules.PolynomialLR(), WarmupSchedule("constant", 2)]))


class Rates(Callback):
    """Remembers the learning rate after each batch."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])


@pytest.mark.parametrize(
    ("run", "steps"),
    [
        ({"max_epochs": 3}, 3 * 2 * 2),
        ({"max_epochs": 3, "limit_train_batches": 1}, 3 * 1 * 2),
        ({"max_epochs": 3, "max_steps": 4}, 4),
        ({"max_epochs": -1, "max_steps": 6}, 6),
        ({"max_epochs": 1, "max_steps": -1}, 2 * 2),
    ],
)
def test_length_of_a_run_in_optimizer_steps(run: dict[str, Any], steps: int):
    module, seen = make_module(lr_scheduler=WarmupSchedule("linear"), updates_per_batch=2), Rates()
    trainer = fit(module, Rows(batch_size=2), callbacks=[seen], **run)
    assert trainer.global_step == steps
    assert seen.seen == pytest.approx([0.1 * (1 - step / steps) for step in range(2, steps + 1, 2)])


def test_a_run_without_end_needs_a_length():
    with pytest.raises(ValueError, match=r"lr_scheduler`: expected a run with an end.*; set trainer.max_steps"):
        fit(make_module(lr_scheduler=WarmupSchedule()), max_epochs=-1)
    fit(make_module(lr_scheduler=WarmupSchedule("constant", 2)), max_epochs=-1, max_time="00:00:00:00")


@pytest.mark.parametrize(
    "schedule",
    [
        lambda: WarmupSchedule("cosine", warmup_ratio=0.25),
        pytest.param(lambda: WarmupSchedule("linear", warmup_steps=1, min_lr_ratio=0.1), marks=pytest.mark.slow),
        lambda: SequentialLR([schedules.LinearLR(), WarmupSchedule("linear", 1)], [2]),
        pytest.param(
            lambda: ChainedScheduler([schedules.PolynomialLR(), schedules.CosineAnnealingLR()]), marks=pytest.mark.slow
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:.*epoch parameter", "ignore:Detected call of", "ignore:To get the last learning")
def test_a_run_that_goes_on_to_another_end_has_the_schedule_of_that_end(schedule: Any, tmp_path: Path):
    path, whole, rest = tmp_path / "last.ckpt", Rates(), Rates()
    data = Rows(ROWS[:2], batch_size=1)
    fit(make_module(lr_scheduler=schedule()), data, max_epochs=2).save_checkpoint(path)
    fit(make_module(lr_scheduler=schedule()), data, max_epochs=4, callbacks=[whole])
    fit(make_module(lr_scheduler=schedule()), data, max_epochs=4, callbacks=[rest], ckpt_path=str(path))
    assert rest.seen == pytest.approx(whole.seen[4:])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "cosin"}, r"`lr_scheduler.name`: expected cosine, .*got 'cosin'"),
        ({"warmup_steps": -1}, r"`lr_scheduler.warmup_steps`: expected a whole number of at least 0, got -1"),
        ({"warmup_steps": 2.5}, r"`lr_scheduler.warmup_steps`: expected a whole number of at least 0, got 2.5"),
        ({"warmup_ratio": 1.5}, r"`lr_scheduler.warmup_ratio`: expected a number from 0 to 1, got 1.5"),
        ({"min_lr_ratio": math.nan}, r"`lr_scheduler.min_lr_ratio`: expected a number from 0 to 1, got nan"),
        ({"warmup_ratio": 0.5, "warmup_steps": 1}, "give one of the two"),
        ({"name": "constant", "min_lr_ratio": 0.5}, r"`lr_scheduler.min_lr_ratio`: expected 0 with constant"),
    ],
)
def test_settings_are_checked(arguments: dict[str, Any], message: str):
    with pytest.raises((TypeError, ValueError), match=message):
        WarmupSchedule(**arguments)


def test_a_warm_up_beyond_the_run_is_told():
    for schedule, option in ((WarmupSchedule(warmup_steps=9), "steps"), (WarmupSchedule(warmup_ratio=1.0), "ratio")):
        told = rf"^`model\.lr_scheduler`: the warm-up takes \d .* whole schedule 6, .*; lower warmup_{option}, or raise"
        with pytest.warns(UserWarning, match=told):
            rates(schedule)


def test_errors_say_that_they_are_the_schedules():
    with pytest.raises(ValueError, match=r"`lr_scheduler.milestones`: expected 1 increasing"):
        SequentialLR([schedules.LinearLR(), schedules.LinearLR()], [])
    with pytest.raises(TypeError, match=r"lr_scheduler`: .*num_warmup_steps"):
        rates(as_schedule(get_cosine_schedule_with_warmup))
    with pytest.raises(TypeError, match="lr_scheduler`: expected a schedule from the given function, got None"):
        rates(as_schedule(lambda optimizer: None))  # type: ignore[arg-type,return-value]
    with pytest.raises(TypeError, match="lr_scheduler`: expected a schedule such as"):
        make_module(lr_scheduler="cosine")


COSINES = [cosine(step, 4) for step in range(4)]
TORCH = "torch.optim.lr_scheduler"
IN_YAML = {
    "transformers": "{class_path: transformers.get_cosine_schedule_with_warmup, init_args: {num_warmup_steps: 2}}",
    "torch": f"""
    class_path: {TORCH}.SequentialLR
    init_args:
      milestones: [2]
      schedulers:
        - {{class_path: {TORCH}.LinearLR, init_args: {{start_factor: 0.1, total_iters: 2}}}}
        - {{class_path: {TORCH}.CosineAnnealingLR, init_args: {{T_max: 4}}}}""",
    "constant": f"{{class_path: {TORCH}.ConstantLR, init_args: {{factor: 0.5}}}}",
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("transformers", [0, 0.5, *COSINES]),
        ("torch", [0.1, 0.55, *COSINES]),
        ("constant", [0.5] * 5 + [1]),  # torch's 5 steps, whatever the run has
    ],
)
def test_schedules_of_others_from_yaml(name: str, expected: list[float], tmp_path: Path):
    (tmp_path / "own.yaml").write_text(f"model:\n  lr_scheduler: {IN_YAML[name]}\n")
    root = tmp_path / "run"
    args = ["--config", SFT, f"--config={tmp_path / 'own.yaml'}", f"--trainer.default_root_dir={root}", *SMALL]
    main(["fit", *args, "--model.optimizer.lr=0.01", "--trainer.max_steps=6", "--trainer.limit_val_batches=0"])
    assert column(logged(root), "train/learning_rate") == pytest.approx([0.01 * rate for rate in expected])


def test_schedules_of_others_from_the_command_line(tmp_path: Path):
    args = ["--config", SFT, f"--trainer.default_root_dir={tmp_path}", *SMALL, "--trainer.limit_val_batches=0"]
    own = ["--model.lr_scheduler=torch.optim.lr_scheduler.CosineAnnealingLR", "--model.lr_scheduler.eta_min=0.001"]
    main(["fit", *args, *own, "--model.optimizer.lr=0.01"])
    assert column(logged(tmp_path), "train/learning_rate") == pytest.approx([0.01, 0.0055])
