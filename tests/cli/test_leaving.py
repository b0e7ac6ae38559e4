"""Ends that are no failure of the program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from lightning_gft.cli import main
from lightning_gft.cli.leaving import ending_at_once, lasting_output, quiet_ends
from tests.cli.command import GFT, ROOT, SMALL


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def closed_output(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setattr(sys, "stdout", os.fdopen(writer, "w"))


def test_ctrl_c_is_a_line_and_its_status(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "lightning_gft.cli.running", SimpleNamespace(run=interrupt))
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config", GFT])
    assert stop.value.code == 130
    assert capsys.readouterr().err == "error: interrupted\n"


CATCHES = """
import time
from pathlib import Path

try:
    Path("importing").touch()
    time.sleep(900)
except KeyboardInterrupt:
    raise ModuleNotFoundError("Could not import module")
"""
COMMAND = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from lightning_gft.cli import main; "
)


@pytest.mark.parametrize("command", [["fit", "--config", GFT], pytest.param(["doctor"], marks=pytest.mark.slow)])
def test_ctrl_c_ends_the_process_even_if_a_library_that_is_being_imported_catches_it(command, tmp_path: Path):
    replaced = {"fit": "torch.py", "doctor": "rich.py"}[command[0]]
    (tmp_path / replaced).write_text(CATCHES)
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    process = subprocess.Popen(
        [sys.executable, "-c", f"{COMMAND}main({command})"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (tmp_path / "importing").exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.communicate()[1] == "error: interrupted\n"
    assert process.returncode == 130


def test_the_handler_of_ctrl_c_is_the_usual_one_again_once_libraries_are_imported(monkeypatch):
    seen: list[object] = []
    run = SimpleNamespace(run=lambda _: seen.append(signal.getsignal(signal.SIGINT)))
    monkeypatch.setitem(sys.modules, "lightning_gft.cli.running", run)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with ending_at_once():
            assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        main(["fit", "--config", GFT])
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [signal.default_int_handler]


def test_a_handler_of_another_program_and_one_seen_from_a_thread_stay(monkeypatch):
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        with ending_at_once():
            assert signal.getsignal(signal.SIGINT) is interrupt
        signal.signal(signal.SIGINT, signal.default_int_handler)
        seen: list[object] = []

        def look() -> None:
            with ending_at_once():
                seen.append(signal.getsignal(signal.SIGINT))

        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        assert seen == [signal.default_int_handler]
    finally:
        signal.signal(signal.SIGINT, before)


def show(*_: object) -> None:
    print("more than was read")


def show_much(*_: object) -> None:
    print("more than a pipe's buffer holds" * 10_000)


def show_and_exit(*_: object) -> None:
    show()
    sys.exit(0)


@pytest.mark.parametrize("run", [show, show_much, show_and_exit])
def test_reader_that_has_left_ends_the_program_quietly(run, monkeypatch, capsys):
    closed_output(monkeypatch)
    monkeypatch.setitem(sys.modules, "lightning_gft.cli.running", SimpleNamespace(run=run))
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config", GFT])
    assert stop.value.code == 141
    sys.stdout.close()  # as the interpreter does when it ends
    assert capsys.readouterr().err == ""


def show_table_and_end() -> None:
    with lasting_output():
        Console().print("a table of rich")
        print("a line", flush=True)
        show_much()
        print(sys.stdout.encoding, sys.stdout.isatty(), file=sys.stderr)


def test_a_run_outlives_the_reader_of_its_output(monkeypatch, capsys):
    closed_output(monkeypatch)
    with quiet_ends():
        show_table_and_end()
    sys.stdout.close()
    assert capsys.readouterr().err == "UTF-8 False\n"


@pytest.mark.parametrize("command", ["fit", "validate"])
def test_the_command_line_outlives_the_reader_of_its_output(command: str, monkeypatch, tmp_path: Path):
    closed_output(monkeypatch)
    shown = [flag for flag in SMALL if flag != "--trainer.enable_progress_bar=false"]
    main([command, "--config", GFT, f"--trainer.default_root_dir={tmp_path}", *shown])
    sys.stdout.close()
    [figures] = tmp_path.glob("lightning_logs/*/metrics.csv")
    assert "val/greedy_accuracy" in figures.read_text()


def test_another_pipe_that_broke_is_a_failure():
    with pytest.raises(BrokenPipeError), quiet_ends():
        raise BrokenPipeError
