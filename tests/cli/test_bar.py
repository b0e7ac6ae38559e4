"""The bar of a terminal: what its rows show, and that they fit."""

from __future__ import annotations

import io
import logging
import re
import sys
from typing import Any

import pytest
import rich
from lightning.pytorch import callbacks as lightning
from lightning.pytorch.utilities import rank_zero_info
from rich.console import Console

from lightning_gft import ExpertSource, GFTLoss, SFTLoss
from lightning_gft.callbacks import Stage, StageSchedule
from lightning_gft.cli.bar import ShortProgressBar
from lightning_gft.phases import DrawCounts, counting
from tests.cli.test_progress import EVALUATION, Clock
from tests.module.runs import ROWS, Rows, fit, make_module, make_trainer


class Screen(lightning.Callback):
    """Looks at the bar after every batch, at a terminal of ``width`` columns."""

    def __init__(self, bar: ShortProgressBar, width: int) -> None:
        self.bar, self.width = bar, width
        self.steps: list[list[str]] = []
        self.batches: list[list[str]] = []

    def look(self) -> list[str]:
        assert self.bar._display is not None
        shown = io.StringIO()
        console = Console(file=shown, width=self.width, force_terminal=True, color_system=None)
        console.print(self.bar._display.get_renderable())
        return [line.rstrip() for line in shown.getvalue().splitlines()]

    def on_train_batch_end(self, *_: Any) -> None:
        self.steps.append(self.look())

    def on_validation_batch_end(self, *_: Any) -> None:
        self.batches.append(self.look())


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Let rich write to a terminal of 80 columns."""
    written = io.StringIO()
    monkeypatch.setattr(rich, "_console", Console(file=written, width=80, force_terminal=True))
    return written


def run(width: int = 80, *others: lightning.Callback, **arguments: Any) -> Screen:
    clock = Clock(40.0)
    screen = Screen(bar := ShortProgressBar(clock), width)
    settings = {"max_steps": 8, "max_epochs": -1, "enable_progress_bar": True, **arguments}
    data = Rows(val_rows=[*ROWS, *ROWS])
    data.eval_batch_size = 4
    fit(make_module(evaluation=EVALUATION), data, callbacks=[clock, bar, *others, screen], **settings)
    return screen


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("width", [80, 120])
def test_rows_of_training_and_of_an_evaluation(width):
    screen = run(width, val_check_interval=1)
    training, figures, *_ = screen.steps[3]  # after 4 steps of 40 s, and 3 validations of 80 s
    assert re.fullmatch(r"Training +━+╸? +4/8 0:06:40 left", training), training
    assert re.fullmatch(r"reward [\d.]+, rectified [\d.]+, tokens/s \d+, accuracy 0", figures), figures
    first, second = screen.batches[:2]
    assert re.search(r"Validation +━+╸? +1/2 0:00:40 left accuracy 0 so far", first[1]), first
    assert "2/2" in second[1]
    assert max(len(line) for look in (*screen.steps, *screen.batches) for line in look) <= width


def test_the_phase_and_the_draw_are_those_of_the_clock(terminal):
    class Phases(lightning.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            with pl_module.clock.running():
                pl_module.clock.enter("rollout")
                self.seen = screen.look()[0]
                with counting(draw):
                    self.seen_drawing = screen.look()[0]
                pl_module.clock.leave()

    bar = ShortProgressBar()
    screen, phases, draw = Screen(bar, 80), Phases(), DrawCounts(total=4096)
    draw.add(responses=12, tokens=3000)
    fit(make_module(evaluation=EVALUATION), callbacks=[bar, phases], enable_progress_bar=True)
    assert phases.seen.endswith(" rollout")
    assert phases.seen_drawing.endswith(" 12/4096, 3.0k tokens")
    assert "Each step has 4 prompts and up to 16 responses: up to 16 demonstrations" in terminal.getvalue()


class Drawing(lightning.Callback):
    """Looks at the bar during a draw of each batch."""

    def __init__(self, screen: Screen) -> None:
        self.screen, self.seen = screen, list[list[str]]()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        draw = DrawCounts(total=4096)
        draw.add(responses=4000, tokens=1_234_567)
        with counting(draw):
            self.seen.append(self.screen.look())

    on_validation_batch_end = on_test_batch_end = on_predict_batch_end = on_train_batch_end


@pytest.mark.usefixtures("terminal")
def test_the_draw_of_an_evaluation_takes_the_place_of_its_accuracy_and_fits():
    clock = Clock(40.0)
    screen = Screen(bar := ShortProgressBar(clock), 80)
    drawing, data = Drawing(screen), Rows(val_rows=[*ROWS, *ROWS])
    data.eval_batch_size = 4
    settings = {"max_steps": 2, "max_epochs": -1, "enable_progress_bar": True}
    fit(make_module(evaluation=EVALUATION), data, callbacks=[clock, bar, drawing], **settings)
    validation = next(look for look in drawing.seen if "Validation" in look[1])
    assert re.search(r"Validation +━+╸? +1/2 0:00:40 left 4000/4096, 1\.2M tokens", validation[1]), validation
    assert "tokens" not in validation[0]
    training = next(look for look in drawing.seen if not look[1].startswith("Validation"))
    assert re.search(r"Training +━+╸? +1/2 0:00:40 left 4000/4096, 1\.2M tokens", training[0]), training
    assert max(len(line) for look in drawing.seen for line in look) <= 80


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("stage", ["test", "predict"])
def test_the_draw_is_shown_outside_of_training(stage: str):
    screen = Screen(bar := ShortProgressBar(), 80)
    trainer = make_trainer(callbacks=[bar, drawing := Drawing(screen)], enable_progress_bar=True)
    rows = Rows()
    rows.load_rows = lambda split: {"": ROWS}  # type: ignore[method-assign]
    getattr(trainer, stage)(make_module(evaluation=EVALUATION), datamodule=rows)
    assert drawing.seen[0][0].endswith(" 4000/4096, 1.2M tokens")


@pytest.mark.usefixtures("terminal")
def test_validation_is_a_phase_and_its_row_goes_with_it():
    screen = run(max_steps=2, val_check_interval=1)
    assert screen.batches[0][0].endswith("validation")
    assert not any("Validation" in line for line in screen.steps[1])


@pytest.mark.usefixtures("terminal")
def test_no_figure_of_an_earlier_stage_stays():
    stages = {"gft": Stage(GFTLoss(), max_steps=2), "sft": Stage(SFTLoss(), {"expert": ExpertSource()}, max_steps=2)}
    screen = run(80, StageSchedule(stages, save=False), max_steps=-1, limit_val_batches=0)
    rewards = [re.search(r"reward ([\d.]+)", look[1]) for look in screen.steps]
    assert len({match[1] for match in rewards[:2] if match} & {match[1] for match in rewards[2:] if match}) == 0


def test_lines_of_the_log_go_above_the_rows_and_the_terminal_is_left_as_it_was(terminal, monkeypatch):
    class Says(lightning.Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            rank_zero_info("said by the log")
            print("said by print", file=sys.stderr)

    monkeypatch.setattr(sys, "stderr", bare := io.StringIO())
    handler = logging.StreamHandler(bare)
    monkeypatch.setattr(logging.getLogger("lightning.pytorch"), "handlers", [handler])
    run(80, Says(), max_steps=1, limit_val_batches=0)
    assert "said by the log" not in bare.getvalue()
    shown = terminal.getvalue()
    assert re.search(r"(^|\n|\x1b\[2K|\r)said by the log\n", shown)
    assert re.search(r"(^|\n|\x1b\[2K|\r)said by print\n", shown)
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1
    assert handler.stream is bare is sys.stderr


@pytest.mark.usefixtures("terminal")
def test_an_exception_ends_the_display():
    class Failing(lightning.Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            raise RuntimeError("no more")

    bar = ShortProgressBar()
    with pytest.raises(RuntimeError, match="no more"):
        fit(make_module(), callbacks=[bar, Failing()], enable_progress_bar=True)
    assert bar._display is None
    assert not rich.get_console()._live_stack
