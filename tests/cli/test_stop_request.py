"""Where a signal ends what a trainer does, with which exit status, and what is kept."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch.optim import AdamW

from lightning_gft import Evaluation, GFTLitModule, GFTLoss, RewardAdvantage, SFTLoss
from lightning_gft.callbacks import Stage, StageSchedule
from lightning_gft.cli import processes
from lightning_gft.cli.stop_callbacks import KeepAtStop, StopBetweenSteps
from lightning_gft.cli.stopping import StopRequest
from tests.module.runs import ROWS, Rows, fit, make_module, make_trainer, weights
from tests.module.test_resuming import Recorder
from tests.sources.endpoint.cases import source_of
from tests.sources.endpoint.servers import completion, serving

pytestmark = pytest.mark.filterwarnings("ignore:Using ModelCheckpoint with manual", "ignore:Be aware that when using")


class SignalIn(Callback):
    """Sends this process a signal the n-th time that a hook is called."""

    def __init__(self, hook: str, call: int = 1, number: int = signal.SIGTERM) -> None:
        self.calls = 0

        def send(*_: Any, **__: Any) -> None:
            self.calls += 1
            if self.calls == call:
                os.kill(os.getpid(), number)

        setattr(self, hook, send)


def module() -> GFTLitModule:
    return make_module(
        optimizer=lambda parameters: AdamW(parameters, lr=0.05), evaluation=Evaluation(num_samples=2, max_new_tokens=4)
    )


def data() -> Rows:
    rows = Rows(ROWS, ROWS, batch_size=1)
    rows.eval_batch_size = 1
    return rows


def run(root: Path, *callbacks: Callback, **settings: Any) -> tuple[GFTLitModule, Recorder]:
    recorder, trained = Recorder(), module()
    keep = ModelCheckpoint(root / "kept", every_n_train_steps=100)
    settings = {"val_check_interval": 2, "log_every_n_steps": 1, "default_root_dir": root, **settings}
    fit(trained, data(), callbacks=[*callbacks, keep], logger=recorder, enable_checkpointing=True, **settings)
    return trained, recorder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, torch.Tensor], list[Any]]:
    """Return weights and rows of a run that is not stopped."""
    trained, recorder = run(tmp_path_factory.mktemp("whole"))
    return weights(trained), recorder.rows


@pytest.mark.parametrize(
    ("number", "hook", "call", "step"),
    [
        (signal.SIGTERM, "on_train_batch_end", 1, 1),
        (signal.SIGINT, "on_train_batch_start", 2, 1),
        (signal.SIGTERM, "on_validation_batch_start", 1, 2),
        (signal.SIGINT, "on_validation_batch_end", 2, 2),
        (signal.SIGTERM, "on_train_batch_end", 2, 2),  # a validation is due
        pytest.param(signal.SIGTERM, "on_validation_end", 1, 2, marks=pytest.mark.slow),
    ],
)
def test_training(number: int, hook: str, call: int, step: int, whole: tuple[Any, Any], tmp_path: Path):
    request = StopRequest()
    stopped = Recorder()
    callbacks = [
        SignalIn(hook, call, number),
        StopBetweenSteps(request),
        KeepAtStop(),
        ModelCheckpoint(tmp_path, every_n_epochs=9),
    ]
    settings = {"val_check_interval": 2, "log_every_n_steps": 1, "enable_checkpointing": True, "logger": stopped}
    with pytest.raises(SystemExit) as end, request.listening():
        fit(module(), data(), callbacks=callbacks, default_root_dir=tmp_path, **settings)
    assert end.value.code == 128 + number
    (path,) = tmp_path.glob("checkpoints/stopped-*.ckpt")
    assert path.name == f"stopped-step={step}.ckpt"
    resumed, rest = run(tmp_path / "resumed", ckpt_path=str(path))
    expected, logged = whole
    assert stopped.rows + rest.rows == logged  # none is lost, none is there twice
    torch.testing.assert_close(weights(resumed), expected, rtol=0, atol=0)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_later_stage_whose_schedule_ends_before_its_checkpoint_is_kept(tmp_path: Path):
    def schedule() -> StageSchedule:
        stages = {"sft": Stage(SFTLoss(), max_steps=1), "gft": Stage(GFTLoss(), max_steps=2)}
        return StageSchedule(stages, save=False)

    request, settings = StopRequest(), {"max_epochs": -1, "max_steps": -1}
    callbacks = [StopBetweenSteps(request), SignalIn("on_train_batch_end", 2), schedule(), KeepAtStop()]
    with pytest.raises(SystemExit), request.listening():
        run(tmp_path / "stopped", *callbacks, **settings)
    (path,) = tmp_path.glob("stopped/checkpoints/stopped-step=2.ckpt")
    resumed, rest = run(tmp_path / "resumed", schedule(), ckpt_path=str(path), **settings)
    trained, logged = run(tmp_path / "whole", schedule(), **settings)
    assert rest.rows == logged.rows[-len(rest.rows) :]  # from the validation after step 2
    assert [step for step, _ in rest.rows] == [2, 3]
    torch.testing.assert_close(weights(resumed), weights(trained), rtol=0, atol=0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_step_that_waits_for_a_server_is_given_up(number: int, tmp_path: Path):
    stuck = threading.Event()

    def answer(handler: Any, body: Any, asked: int) -> None:
        if body["messages"][-1]["content"] == ROWS[2]["prompt"] and not mended.is_set():
            stuck.wait(120)
        handler.send(completion(str(body["seed"])[:4]))

    def stop_at_third() -> None:
        while not any(body["messages"][-1]["content"] == ROWS[2]["prompt"] for body in server.asked):
            time.sleep(0.01)
        time.sleep(0.2)
        os.kill(os.getpid(), number)

    def train(root: Path, *callbacks: Callback, **settings: Any) -> tuple[GFTLitModule, Recorder]:
        recorder = Recorder()
        source = source_of(server, tmp_path / "replies", num_responses=2, ahead=0)
        trained = make_module(
            sources={"teacher": source}, advantage=RewardAdvantage(), optimizer=lambda weights: AdamW(weights, lr=0.05)
        )
        callbacks = (*callbacks, ModelCheckpoint(root, every_n_train_steps=100))
        settings = {"log_every_n_steps": 1, "default_root_dir": root, "logger": recorder, **settings}
        try:
            fit(trained, Rows(ROWS, batch_size=1), callbacks=[*callbacks], enable_checkpointing=True, **settings)
        finally:
            logged.append(
                [(step, {k: v for k, v in row.items() if "/sources/" not in k}) for step, row in recorder.rows]
            )
        return trained, recorder

    mended, request, logged = threading.Event(), StopRequest(), []
    with serving(answer) as server:
        observer = threading.Thread(target=stop_at_third, daemon=True)
        observer.start()
        with pytest.raises(SystemExit) as end, request.listening():
            train(tmp_path / "stopped", StopBetweenSteps(request), KeepAtStop())
        assert end.value.code == 128 + number
        mended.set()
        stuck.set()
        (path,) = tmp_path.glob("stopped/checkpoints/stopped-step=2.ckpt")  # 3, had the step ended with the server
        resumed, _ = train(tmp_path / "resumed", ckpt_path=str(path))
        whole, _ = train(tmp_path / "whole")
    assert logged[0] + logged[1] == logged[2]
    torch.testing.assert_close(weights(resumed), weights(whole), rtol=0, atol=0)


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_all_else_ends_after_its_batch(stage: str, tmp_path: Path):
    hook = f"on_{'validation' if stage == 'validate' else stage}_batch_start"
    sent, request = SignalIn(hook, 2), StopRequest()
    trainer = make_trainer(callbacks=[sent, StopBetweenSteps(request), KeepAtStop()])
    rows = data()
    rows.load_rows = lambda split: {"": ROWS}  # type: ignore[method-assign]
    with pytest.raises(SystemExit) as end, request.listening():
        getattr(trainer, stage)(module(), datamodule=rows)
    assert end.value.code == 128 + signal.SIGTERM
    assert sent.calls == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_before_there_is_anything_to_keep_it_ends_at_once(number: int, capfd: pytest.CaptureFixture[str]):
    request = StopRequest()
    with pytest.raises(SystemExit) as end, request.listening():
        fit(module(), data(), callbacks=[SignalIn("setup", number=number), StopBetweenSteps(request), KeepAtStop()])
    assert end.value.code == 128 + number
    assert "Stopped\n" in capfd.readouterr().err


@pytest.mark.parametrize(("first", "second"), [(signal.SIGINT, signal.SIGTERM), (signal.SIGTERM, signal.SIGTERM)])
def test_a_second_signal_ends_the_process_whatever_it_is_in(first: int, second: int):
    received, written = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        request = StopRequest()
        with request.listening():
            request.finish("step")
            os.kill(os.getpid(), first)
            os.write(written, b"asked")
            while True:  # as a reward that does not come back
                time.sleep(1)
    assert os.read(received, 5) == b"asked"
    assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    os.kill(pid, second)
    _, status = os.waitpid(pid, 0)
    assert (os.WIFSIGNALED(status) and os.WTERMSIG(status) == second) or os.waitstatus_to_exitcode(
        status
    ) == 128 + second


def test_a_forked_process_is_its_parents():
    request = StopRequest()
    with request.listening():
        pid = os.fork()
        if pid == 0:
            try:
                os.kill(os.getpid(), signal.SIGINT)  # Ctrl-C reaches it, too
                os._exit(0 if request.signal is None else 1)
            finally:
                os._exit(2)  # an error here must not run the tests that follow a second time
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        pid = os.fork()
        if pid == 0:
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM


def test_signals_of_one_run_do_not_end_the_process_in_the_next():
    for _ in range(3):
        request = StopRequest()
        with request.listening():
            request.finish("step")
            os.kill(os.getpid(), signal.SIGTERM)
        assert request.signal == signal.SIGTERM
    time.sleep(0.2)  # for an observer that would end the process


def test_a_second_run_of_a_process_does_not_wait_for_itself(monkeypatch: pytest.MonkeyPatch):
    started: list[Any] = []
    monkeypatch.setattr(processes.threading.Thread, "start", lambda thread: started.append(thread))
    monkeypatch.delenv("LIGHTNING_GFT_LAUNCHER", raising=False)
    monkeypatch.setenv("LOCAL_RANK", "0")  # as Lightning's launcher leaves it in rank 0
    processes.end_with_launcher()
    processes.end_with_launcher()
    assert not started
    monkeypatch.setenv("LIGHTNING_GFT_LAUNCHER", str(os.getppid()))
    processes.end_with_launcher()
    assert len(started) == 1
