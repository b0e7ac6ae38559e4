"""Lines of a run that has printed nothing for long: when they come, and what they say."""

from __future__ import annotations

import io
import sys
import time
from itertools import chain, repeat
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from lightning_gft import Evaluation, SelfSource, TransformersEngine
from lightning_gft.cli import life
from lightning_gft.cli.life import SignsOfLife
from lightning_gft.cli.progress import ProgressLines
from lightning_gft.lm.decoding.shareable import shares_prompts
from lightning_gft.pauses import GrowingPauses
from tests.forking import HANG
from tests.module.runs import ROWS, Rows, fit, make_module
from tests.tiny import tiny_loader


class Watched:
    """Signs of life at a time that the test moves, in seconds."""

    def __init__(self) -> None:
        self.now, self.said = 0.0, list[str]()
        self.signs = SignsOfLife(self.said.append, clock=lambda: self.now)

    def lines_until(self, end: float) -> list[float]:
        """Return the seconds at which there are lines, looking every 10 seconds."""
        at = []
        while self.now < end:
            self.now += 10
            at += [self.now] if self.signs.look() is not None else []
        return at


def test_lines_of_a_long_step_come_at_growing_intervals():
    watched = Watched()
    watched.signs.doing(lambda: "Step 1")
    assert watched.lines_until(4000) == [30, 60, 120, 240, 480, 960, 1560, 2160, 2760, 3360, 3960]


def test_quick_steps_and_a_run_that_does_nothing_print_nothing():
    watched = Watched()
    for _ in range(100):
        watched.signs.doing(lambda: "Step 1")
        assert watched.lines_until(watched.now + 20) == []
    watched.signs.idle()
    assert watched.lines_until(watched.now + 1000) == []


def test_another_line_makes_a_sign_of_life_wait():
    watched = Watched()
    watched.signs.doing(lambda: "Validation")
    watched.now = 20
    watched.signs.printed()
    assert watched.lines_until(70) == [50]


def test_intervals_stay_long_in_later_steps():
    watched, at = Watched(), []
    for _ in range(30):
        watched.signs.doing(lambda: "Step")
        at += watched.lines_until(watched.now + 40)
    assert at == [30]  # the next one would come a minute into a step


def test_a_line_says_what_lasts_and_how_long():
    watched = Watched()
    watched.now = 100
    watched.signs.doing(lambda: "Step 3 of 9: rollout, 1 of 8 responses")
    watched.now = 175
    assert watched.signs.look() == "Step 3 of 9: rollout, 1 of 8 responses, 0:01:15 so far"


def test_the_end_does_not_wait_for_a_reader_that_does_not_read(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(life, "_LOOK_EACH", 0.01)
    monkeypatch.setattr(life, "_PATIENCE", 0.01)
    printing, is_read, times = Event(), Event(), chain([0.0], repeat(40.0))

    def say(line: str) -> None:
        printing.set()
        is_read.wait(HANG)

    signs = SignsOfLife(say, clock=times.__next__)
    signs.doing(lambda: "Step 1")
    signs.start()
    assert printing.wait(HANG)
    signs.end()  # returns
    is_read.set()


class AwaitedEngine(TransformersEngine):
    """Waits in the middle of each draw until lines about it are printed."""

    def __init__(self, printed: io.StringIO) -> None:
        super().__init__(max_batch_size=2)
        self.printed = printed

    def generate(self, model: Any, *args: Any, **settings: Any) -> Any:
        shares_prompts(model)  # tried once, in passes of its own
        passes = 0

        def wait(*_: Any) -> None:
            nonlocal passes
            passes += 1
            if passes == 2:
                before, deadline = self.printed.getvalue().count("so far"), time.monotonic() + HANG
                while self.printed.getvalue().count("so far") < before + 2:  # the first may have been made earlier
                    assert time.monotonic() < deadline, "no sign of life"
                    time.sleep(0.005)

        hook = model.register_forward_pre_hook(wait)
        try:
            return super().generate(model, *args, **settings)
        finally:
            hook.remove()


def test_a_draw_shows_its_counts_in_training_and_in_validation(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(life, "GrowingPauses", lambda first: GrowingPauses(0.01, longest=0.01))
    monkeypatch.setattr(life, "_LOOK_EACH", 0.01)
    monkeypatch.setattr(sys, "stdout", printed := io.StringIO())
    loader = tiny_loader()
    loader.rollout = AwaitedEngine(printed)
    sources = {"own": SelfSource(2, max_new_tokens=3, min_new_tokens=3)}
    evaluation = Evaluation(num_samples=1, max_new_tokens=3, min_new_tokens=3, kl=False)
    module = make_module(sources=sources, policy=loader, evaluation=evaluation)
    lines = ProgressLines()
    fit(module, Rows(ROWS[:2], ROWS, batch_size=2), callbacks=[lines], enable_progress_bar=True)
    said = [line.rsplit(", ", 1)[0] for line in printed.getvalue().splitlines() if line.endswith(" so far")]
    # After the prompts and one token of the first of two parts of the draw.
    assert "Step 1 of 1: rollout, 0 of 4 responses, 2 tokens" in said
    assert "Validation: batch 1 of 1, 0 of 8 responses, 2 tokens" in said
    assert lines.life._thread is None
    assert module.clock.draw is None


def test_ranks_that_print_nothing_do_not_look():
    lines = ProgressLines()
    trainer = SimpleNamespace(is_global_zero=False, world_size=2)
    lines._show_life(trainer, make_module(), lambda: "Step 1")
    assert lines.life._thread is None
