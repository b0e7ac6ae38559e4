"""What the command line says to bad input: one line that names the setting, the value and a remedy."""

from __future__ import annotations

import json
import socket
import zipfile
from pathlib import Path

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities import rank_zero_only

from lightning_gft.checks import check_number
from lightning_gft.cli import main
from lightning_gft.cli.checks import check_port
from lightning_gft.cli.errors import one_line_errors
from lightning_gft.errors import GFTTypeError, GFTValueError
from tests.cli.command import GFT, SMALL, refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trainer.max_stepz=3"], "unrecognized arguments: --trainer.max_stepz=3; did you mean --trainer.max_steps?"),
        (
            ["--model.loss=lightning_gft.GTFLoss"],
            "model.loss: module 'lightning_gft' has no attribute 'GTFLoss'; did you mean GFTLoss?",
        ),
        (["--model.loss=GFTLos"], "model.loss: Expected a dot import path string: GFTLos; did you mean GFTLoss?"),
        (["--trainer.callbacks=ModelCheckpont"], "Got value: ModelCheckpont; did you mean ModelCheckpoint?"),
        (["--model.loss.foo=3"], "model.loss: Option 'foo' is not accepted; it has rectifier, reduction"),
        (["--model.loss=null"], "model.loss: Not a valid subclass of GroupLoss. Got value: None"),
        (["--trainer.devices=0"], "is not a valid input using cpu accelerator"),
        (["--trainer.gradient_clip_algorithm=value"], "trainer.gradient_clip_algorithm: expected 'norm', got 'value'"),
        (["--trainer.default_root_dir=/dev/null/run"], "got /dev/null/run (Not a directory); choose another"),
        (
            ["--trainer.default_root_dir=" + "n" * 300],
            "trainer.default_root_dir: expected a folder that can be written",
        ),
        (
            ["--trainer.callbacks=ModelCheckpoint", "--trainer.callbacks.dirpath=/proc/run"],
            "ModelCheckpoint.dirpath: expected a folder that can be written to, got /proc/run (",
        ),
        (
            ["--trainer.logger=CSVLogger", "--trainer.logger.save_dir=/proc/run"],
            "CSVLogger.save_dir: expected a folder that can be written to, got /proc/run/lightning_logs/version_0 (",
        ),
        (["--trainer.devices=100"], "trainer.devices: expected at most "),
        (
            ["--trainer.precision=bf17"],
            "trainer.precision: Expected one of Literal[64, 32, 16], Literal['transformer-engine'",
        ),
        (["--trainer.max_steps=abc"], "trainer.max_steps: Expected a int. Got value: abc"),
        (
            ["--trainer.callbacks=Foo"],
            "trainer.callbacks: Expected one of list[Callback], Callback, null. Got value: Foo",
        ),
        (["--model.optimizer.lr=abc"], "model.optimizer.lr: Expected one of float, Tensor. Got value: abc"),
        (["--model.policy.lora=abc"], "model.policy.lora: Expected one of LoRA, null. Got value: abc"),
        (["--model.sampler.rewards={a: &a [*a]}"], "the alias *a stands within what it stands for; write it out"),
        (["--model.sampler.rewards=" + "[" * 5000], "expected at most 100 levels of YAML"),
        (["--ckpt_path=" + "n" * 300], "n: File name too long"),
        (["--trainer.strategy=fsdp"], "trainer.strategy=fsdp needs a GPU: use fsdp2"),
        (["--model.loss.rectifier.threshold=a"], "model.loss.rectifier.threshold: Expected a float. Got value: a"),
        (
            ["--model.loss.rectifier.threshold=-7"],
            "`threshold` of DynamicCoefficientRectifier: expected a number",
        ),
        (
            ["--model.sampler.sources.sefl.top_k=3"],
            "lightning_gft.ResponseSource is abstract; a new entry, or one whose name is misspelt, needs a",
        ),
        (["--model.optimizer.lr=-7"], "Invalid learning rate: -7.0"),
        (["--trainer.strategy=warp"], "trainer.strategy: expected auto, ddp, fsdp2 or, on GPUs, fsdp, got warp"),
        (["--trainer.precision=16-true"], "`trainer.precision`: expected 32-true or bf16-mixed, got '16-true'"),
        (["--ckpt_path=nowhere.ckpt"], "nowhere.ckpt"),
        (
            ["--model.policy=lightning_gft.PretrainedPolicy", "--model.policy.model_name_or_path=/no"],
            "='/no': there is no",
        ),
        (["--data=lightning_gft.GroupDataModule", "--data.path=no.csv"], "path='no.csv' does not exist"),
    ],
)
def test_mistake_is_told_in_a_line(arguments, message, capsys, tmp_path):
    shown = refused(capsys, "fit", "--config", GFT, f"--trainer.default_root_dir={tmp_path}", *SMALL, *arguments)
    (line,) = [line for line in shown.splitlines() if line.startswith("error: ")]
    assert message in line
    assert "Traceback" not in shown
    assert "usage" not in shown


ALIASES_OF_ALIASES = "a0: &a0 [x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "'a' is there twice"),
        ("a: {marker: #}\n", "quote a value that begins with #"),
        ("a: [1\n", "while parsing a flow sequence"),
        ("", "holds no settings"),
        ("- 1\n", "holds no settings"),
        (b"a: \xff\n", "'utf-8' codec can't decode byte 0xff"),
        ("seed_everything: 1\x00\n", "unacceptable character #x0000"),
        ("trainer:\n\tmax_steps: 1\n", "found character that cannot start any token"),
        ("a: &a [*a]\n", "the alias *a stands within what it stands for"),
        ("a: " + "[" * 100_000, "expected at most 100 levels of YAML within each other"),
        (ALIASES_OF_ALIASES, "expected at most 100000 values in YAML, aliases written out"),
        ("a: b\n" * 300_000, "expected at most 1048576 characters of YAML, got more"),
    ],
)
def test_file_that_is_no_configuration_is_named(content, message, capsys, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for arguments in ([f"--config={path}"], ["-c", str(path)]):
        shown = refused(capsys, "fit", *arguments)
        assert f"--config={path}" in shown
        assert message in shown


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "nowhere.yaml",
            "--config=nowhere.yaml: expected a YAML file, got what cannot be read (No such file or directory)",
        ),
        ("/tmp", "--config=/tmp: expected a YAML file, got what cannot be read (Is a directory)"),  # noqa: S108
        ("/dev/zero", "--config=/dev/zero: expected at most 1048576 characters of YAML, got more"),
        ("n" * 300, "--config=" + "n" * 100 + " ... [100 characters] ... "),
    ],
)
def test_path_that_is_no_configuration_is_named(path, message, capsys):
    assert f"error: {message}" in refused(capsys, "fit", "--config", path)


def test_settings_that_are_missing_are_named(capsys):
    shown = refused(capsys, "fit")
    assert "arguments are required: fit.model.policy, fit.model.sampler, fit.model.loss, fit.data\n" in shown


def test_long_text_of_an_error_is_cut(capsys):
    with pytest.raises(SystemExit), one_line_errors():
        raise torch.OutOfMemoryError("begin" + "x" * 5_000_000 + "end")
    shown = capsys.readouterr().err
    assert len(shown) < 5000
    assert shown.startswith("error: beginxx")
    assert "characters]" in shown
    assert "end\nLower model.micro_batch_tokens" in shown


def test_place_that_fails_while_a_run_writes_is_told_in_a_line(capsys):
    with pytest.raises(SystemExit), one_line_errors():
        (Path("/dev/null") / "run").mkdir()
    assert capsys.readouterr().err.startswith("error: /dev/null/run: Not a directory\n")


def test_template_on_the_command_line_stays_a_text(capsys, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"question": "1", "answer": "1"}')
    shown = refused(
        capsys,
        *("fit", "--config", GFT, f"--trainer.default_root_dir={tmp_path}", "--data=lightning_gft.GroupDataModule"),
        *(f"--data.path={tmp_path}/rows.jsonl", "--data.prompt_template=Q: {prompt}"),
    )
    assert "prompt_column='prompt' is not a column" in shown


def test_traceback_is_shown_when_asked_for(monkeypatch):
    monkeypatch.setenv("LIGHTNING_GFT_TRACEBACK", "1")
    with pytest.raises(ValueError, match="`updates_per_batch`: expected"):
        main(["fit", "--config", GFT, "--model.updates_per_batch=0"])


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
    assert capsys.readouterr().err.startswith(f"error: {error}\n" if told else "")


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
            "another process is gone (Connection closed by peer [::1]:9). If",
        ),
        (
            RuntimeError(GLOO.format("buffer.cc:78", "Timed out waiting 15000ms for recv operation to complete")),
            "another process did not answer in time (Timed out waiting 15000ms for recv operation to complete). If",
        ),
        (
            torch.distributed.DistBackendError(NCCL.format("remote process exited", "ncclRemoteError")),
            "another process is gone (NCCL error in: ",
        ),
        (
            torch.distributed.DistBackendError("Watchdog caught collective operation timeout: WorkNCCL(SeqNum=3)"),
            "another process did not answer in time (Watchdog caught",
        ),
        (
            torch.distributed.DistStoreError("Timed out after 9 seconds waiting for clients. 1/2 clients joined."),
            "the processes of this run have not met: Timed out after 9 seconds waiting for clients. 1/2 clients",
        ),
        (torch.OutOfMemoryError("CUDA out of memory."), "CUDA out of memory.\nLower model.micro_batch_tokens"),
    ],
)
def test_error_of_a_device_or_another_process_is_told_in_a_line(error, told, capsys):
    with pytest.raises(SystemExit) as stop, one_line_errors():
        raise error
    assert stop.value.code == 1
    assert capsys.readouterr().err.startswith(f"error: {told}")


def test_error_of_nccl_that_no_other_process_caused_keeps_its_traceback():
    error = torch.distributed.DistBackendError(NCCL.format("invalid usage", "ncclInvalidUsage"))
    with pytest.raises(torch.distributed.DistBackendError), one_line_errors():
        raise error


def test_one_of_several_processes_says_which_it_is(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setattr(rank_zero_only, "rank", 3)
    with pytest.raises(SystemExit), one_line_errors():
        check_number("lr", 0, above=0)
    assert capsys.readouterr().err.startswith(f"error: process 3 of 4 on {socket.gethostname()}: `lr`: expected a nu")


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


def write_text(path: Path) -> None:
    path.write_text("no checkpoint")


def write_cut_short(path: Path) -> None:
    torch.save({"state_dict": {}}, path)
    path.write_bytes(path.read_bytes()[:-30])


def write_weights(path: Path) -> None:
    torch.save({"weight": torch.zeros(1)}, path)


def write_objects(path: Path) -> None:
    torch.save({"state_dict": {}, "path": path}, path)


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello.txt", "hello")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (Path.touch, "was cut short, or is no checkpoint at all"),
        (write_text, "was cut short, or is no checkpoint at all"),
        (write_cut_short, "was cut short, or is no checkpoint at all"),
        (write_zip, "is no checkpoint ("),
        (write_weights, ": the checkpoint holds no state_dict, loops, pytorch-lightning_version"),
        (write_objects, "holds Python objects besides tensors, numbers and texts"),
        (Path.mkdir, "is a folder, but no checkpoint in parts"),
    ],
)
def test_file_that_is_no_checkpoint_is_refused(write, message, capsys, tmp_path):
    path = tmp_path / "step: 3.ckpt"
    write(path)
    shown = refused(capsys, "fit", "--config", GFT, f"--ckpt_path={path}", *SMALL)
    assert f"error: ckpt_path={path}" in shown
    assert message in shown
    assert len(shown.strip().splitlines()) == 2  # with how to see the traceback
