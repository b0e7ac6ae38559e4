"""How a draw ahead ends: by its own error, by an error of the run, or because the run stops."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.callbacks import Callback

from lightning_gft.cli.stop_callbacks import KeepAtStop, StopBetweenSteps
from lightning_gft.cli.stopping import StopRequest
from lightning_gft.errors import GFTRuntimeError
from lightning_gft.waiting import check_wait
from tests.module.runs import fit
from tests.training.test_ahead import CopyEngine, Heard, data, draws_left, module_with


def test_an_error_is_raised_at_its_own_batch_and_leaves_no_thread():
    engine, heard = CopyEngine(), Heard()

    def refuse(number: int) -> None:
        if number == 3:
            raise GFTRuntimeError("the server is gone")

    engine.before = refuse
    with pytest.raises(GFTRuntimeError, match="the server is gone"):
        fit(module_with(engine), data(), callbacks=[heard])
    assert len(heard.staleness) == 2
    assert draws_left() == []


def wait_for_ever(number: int) -> None:
    while number > 1:
        check_wait()
        time.sleep(0.005)


def test_an_exception_during_a_draw_ends_the_draw():
    class Fails(Callback):
        def on_before_zero_grad(self, *_: Any) -> None:
            assert draws_left() == ["AheadDraw"]
            raise KeyError("an error of the run")

    engine = CopyEngine()
    engine.before = wait_for_ever
    with pytest.raises(KeyError, match="an error of the run"):
        fit(module_with(engine), data(), callbacks=[Fails()])
    assert draws_left() == []


def test_a_run_that_stops_early_ends_the_draw():
    class Stops(Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            assert draws_left() == ["AheadDraw"]
            trainer.should_stop = True

    engine = CopyEngine()
    engine.before = wait_for_ever
    trainer = fit(module_with(engine), data(), callbacks=[Stops()])
    assert trainer.global_step == 1
    assert draws_left() == []


def test_a_request_to_stop_keeps_a_checkpoint_and_abandons_the_draw(tmp_path: Path):
    class Asks(Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            assert draws_left() == ["AheadDraw"]
            signal.raise_signal(signal.SIGTERM)

    engine, request = CopyEngine(), StopRequest()
    engine.before = wait_for_ever
    callbacks = [Asks(), StopBetweenSteps(request), KeepAtStop()]
    with pytest.raises(SystemExit) as end, request.listening():
        fit(module_with(engine), data(), callbacks=callbacks, enable_checkpointing=True, default_root_dir=tmp_path)
    assert end.value.code == 128 + signal.SIGTERM
    assert draws_left() == []
    [kept] = tmp_path.rglob("stopped-step=1.ckpt")
    resumed = Heard()
    fit(module_with(CopyEngine()), data(), callbacks=[resumed], ckpt_path=str(kept))
    assert resumed.versions == [{1}, {1}, {2}], "the next batch is drawn again, from the weights of the checkpoint"
