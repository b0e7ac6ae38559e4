"""Which errors end the program with a line, and which with a traceback."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities import rank_zero_only

from lightning_gft.checks import check_number
from lightning_gft.cli.checks import check_port
from lightning_gft.cli.errors import one_line_errors
from lightning_gft.cli.reporting import report
from lightning_gft.errors import GFTTypeError, GFTValueError


def test_long_text_of_an_error_is_cut(capsys):
    with pytest.raises(SystemExit), one_line_errors():
        raise torch.OutOfMemoryError("begin" + "x" * 5_000_000 + "end")
    shown = capsys.readouterr().err
    assert len(shown) < 5000
    hint, error = shown.splitlines()
    assert "TRACEBACK" in hint
    assert error.startswith("error: beginxx")
    assert "characters]" in error
    assert "end Lower model.micro_batch_tokens" in error


def test_an_error_is_written_at_once_with_its_hint_before_it(monkeypatch):
    written: list[str] = []
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(write=written.append))
    report("`a`: expected b", "See: lightning-gft fit --help")
    report("interrupted")
    assert written == ["See: lightning-gft fit --help\nerror: `a`: expected b\n", "error: interrupted\n"]


def test_place_that_fails_while_a_run_writes_is_told_in_a_line(capsys):
    with pytest.raises(SystemExit), one_line_errors():
        (Path("/dev/null") / "run").mkdir()
    assert capsys.readouterr().err.endswith(")\nerror: /dev/null/run: Not a directory\n")


def test_what_may_be_a_mistake_in_the_code_keeps_its_traceback():
    for mistake, error in ((lambda: int("a"), ValueError), (lambda: len(3), TypeError), (lambda: [][0], IndexError)):
        with pytest.raises(error), one_line_errors():
            mistake()
    with pytest.raises(ValueError, match="another package's"), one_line_errors():
        raise ValueError("another package's")


def raise_in(package: str, error: Exception) -> None:
    exec("raise error", {"__name__": f"{package}.part", "error": error})  # noqa: S102


@pytest.mark.parametrize(
    ("package", "error", "told"),
    [
        ("anywhere", GFTTypeError("`a`: expected b"), True),
        ("anywhere", MisconfigurationException("set c"), True),
        ("anywhere", OSError("the hub cannot be reached"), True),
        ("anywhere", TimeoutError(), False),
        ("lightning.fabric", ValueError("SLURM has 3 tasks"), True),
        ("lightning.fabric", ModuleNotFoundError("wandb"), True),
        ("lightning.fabric", TypeError("a mistake"), False),
        ("lightning_gft", ValueError("a mistake"), False),
        ("jsonargparse", ValueError("d"), True),
    ],
)
def test_errors_about_the_configuration_are_told_in_a_line(package, error, told, capsys):
    with pytest.raises(SystemExit if told else type(error)), one_line_errors():
        raise_in(package, error)
    assert capsys.readouterr().err.endswith(f")\nerror: {error}\n" if told else "")


def test_port_that_is_none_is_told_in_a_line(monkeypatch):
    monkeypatch.setenv("MASTER_PORT", "abc")
    check_port(1)  # which needs none
    with pytest.raises(GFTValueError, match="`MASTER_PORT`: expected a port such as 29500, got 'abc'"):
        check_port(2)


GLOO = "[/pytorch/third_party/gloo/gloo/transport/tcp/{}] {}"
NCCL = "NCCL error in: /pytorch/torch/csrc/distributed/c10d/NCCLUtils.cpp:1, {}, NCCL version 2.27.5\n{}: more"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            RuntimeError(GLOO.format("pair.cc:553", "Connection closed by peer [::1]:9. This is typically caused by")),
            "another rank is gone (Connection closed by peer [::1]:9). If",
        ),
        (
            RuntimeError(GLOO.format("buffer.cc:78", "Timed out waiting 15000ms for recv operation to complete")),
            "another rank did not answer in time (Timed out waiting 15000ms for recv operation to complete). If",
        ),
        (
            torch.distributed.DistBackendError(NCCL.format("remote process exited", "ncclRemoteError")),
            "another rank is gone (NCCL error in: ",
        ),
        (
            torch.distributed.DistBackendError("Watchdog caught collective operation timeout: WorkNCCL(SeqNum=3)"),
            "another rank did not answer in time (Watchdog caught",
        ),
        (
            torch.distributed.DistStoreError("Timed out after 9 seconds waiting for clients. 1/2 clients joined."),
            "the ranks of this run have not met: Timed out after 9 seconds waiting for clients. 1/2 clients",
        ),
        (torch.OutOfMemoryError("CUDA out of memory."), "CUDA out of memory. Lower model.micro_batch_tokens"),
    ],
)
def test_error_of_a_device_or_another_process_is_told_in_a_line(error, told, capsys):
    with pytest.raises(SystemExit) as stop, one_line_errors():
        raise error
    assert stop.value.code == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {told}")


def test_error_of_nccl_that_no_other_process_caused_keeps_its_traceback():
    error = torch.distributed.DistBackendError(NCCL.format("invalid usage", "ncclInvalidUsage"))
    with pytest.raises(torch.distributed.DistBackendError), one_line_errors():
        raise error


def test_one_of_several_processes_says_which_it_is(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setattr(rank_zero_only, "rank", 3)
    with pytest.raises(SystemExit), one_line_errors():
        check_number("lr", 0, above=0)
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: rank 3 of 4 on {socket.gethostname()}: `lr`: expected a number")


def test_error_is_left_for_torchrun(monkeypatch, tmp_path):
    path = tmp_path / "error.json"
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(path))
    with pytest.raises(SystemExit), one_line_errors():
        check_number("lr", 0, above=0)
    callstack = json.loads(path.read_text())["message"]["extraInfo"]["py_callstack"]
    assert callstack.startswith("lightning_gft.errors.GFTValueError: `lr`: expected a nu")
    with pytest.raises(ValueError), one_line_errors():
        int("a")
    assert json.loads(path.read_text())["message"]["extraInfo"]["py_callstack"].startswith("Traceback")
