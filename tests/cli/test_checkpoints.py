"""What ``--ckpt_path`` finds, and what it refuses."""

from __future__ import annotations

import logging
import os
import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_gft import Evaluation
from lightning_gft.cli.checkpoints import find_checkpoint
from tests.cli.command import GFT, SMALL, refused
from tests.module.runs import ROWS, Rows, fit, make_module

pytestmark = pytest.mark.filterwarnings("ignore:Using ModelCheckpoint with manual", "ignore:Be aware that when using")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the root directory of a run that kept its best, its last, and one from SLURM."""
    root = tmp_path_factory.mktemp("run")
    folder = root / "lightning_logs/version_0/checkpoints"
    best = ModelCheckpoint(folder, filename="best-{step}", monitor="val/entropy", save_last=True)
    module = make_module(evaluation=Evaluation(num_samples=2, max_new_tokens=4))
    trainer = fit(module, Rows(ROWS, ROWS), callbacks=[best], enable_checkpointing=True, max_epochs=2)
    trainer.save_checkpoint(root / "hpc_ckpt_1.ckpt")
    for age, path in enumerate([folder / "last.ckpt", root / "hpc_ckpt_1.ckpt", *folder.glob("best-*.ckpt")]):
        os.utime(path, (1e9 - age, 1e9 - age))
    return root


def settings(root: Path, *dirpaths: Path) -> dict[str, Any]:
    callbacks = [SimpleNamespace(init_args={"dirpath": str(path)}) for path in dirpaths]
    return {"default_root_dir": str(root), "callbacks": callbacks, "logger": None}


@pytest.mark.parametrize(
    ("choice", "found"),
    [
        ("last", "lightning_logs/version_0/checkpoints/last.ckpt"),
        ("hpc", "hpc_ckpt_1.ckpt"),
        ("best", "lightning_logs/version_0/checkpoints/best-step=*.ckpt"),
    ],
)
def test_names_find_what_there_is(choice: str, found: str, run: Path, caplog: pytest.LogCaptureFixture):
    (expected,) = run.glob(found)
    with caplog.at_level(logging.INFO, "lightning.pytorch.utilities.rank_zero"):
        assert find_checkpoint(choice, settings(run), resumes=True) == str(expected)
    assert f"ckpt_path={choice} is {expected}" in caplog.messages
    # A folder of the configuration that is not below the root directory counts, too.
    if choice != "hpc":
        assert find_checkpoint(choice, settings(run / "elsewhere", expected.parent), resumes=False) == str(expected)


def test_a_file_that_was_cut_short_is_passed_over(run: Path, tmp_path: Path):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run/newer.ckpt").write_bytes((run / "hpc_ckpt_1.ckpt").read_bytes()[:1000])
    with pytest.warns(UserWarning, match=r"ckpt_path=last skips a file: .*newer\.ckpt'\): .* was cut short"):
        path = find_checkpoint("last", settings(tmp_path / "run"), resumes=True)
    assert Path(path).name == "last.ckpt"


def test_without_a_root_directory_only_runs_are_searched(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other/project").mkdir(parents=True)
    (tmp_path / "other/project/newest.ckpt").write_text("of another program")
    nothing = {"default_root_dir": None, "callbacks": None, "logger": True}
    with pytest.raises(ValueError, match=r"`ckpt_path`: expected a run with a checkpoint"):
        find_checkpoint("last", nothing, resumes=True)
    logger = SimpleNamespace(init_args={"save_dir": str(run)})
    assert find_checkpoint("last", {**nothing, "logger": logger}, resumes=True).startswith(str(run))
    shutil.copytree(run / "lightning_logs", tmp_path / "lightning_logs")
    assert find_checkpoint("last", nothing, resumes=True).startswith(str(tmp_path / "lightning_logs"))
    assert not recwarn.list  # the other program's file has not been looked at


def test_a_file_that_is_deleted_meanwhile_is_skipped(run: Path, monkeypatch: pytest.MonkeyPatch):
    lstat = Path.lstat

    def gone(path: Path) -> Any:
        if path.name == "last.ckpt":
            raise FileNotFoundError(path)
        return lstat(path)

    monkeypatch.setattr(Path, "lstat", gone)
    assert find_checkpoint("last", settings(run), resumes=True) == str(run / "hpc_ckpt_1.ckpt")


@pytest.mark.parametrize("choice", ["last", "best", "hpc"])
def test_a_name_that_stands_for_nothing_is_refused(choice: str, tmp_path: Path):
    with pytest.raises(
        ValueError,
        match=rf"`ckpt_path`: expected a run with a checkpoint .*, got {choice} and none below {tmp_path}; give",
    ):
        find_checkpoint(choice, settings(tmp_path), resumes=True)


def test_what_is_no_path_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"expected a checkpoint's file or folder, .*, got 'registry:model'"):
        find_checkpoint("registry:model", settings(tmp_path), resumes=False)


def test_best_takes_a_monitor(tmp_path: Path):
    keep = ModelCheckpoint(tmp_path, every_n_train_steps=1)
    fit(make_module(), callbacks=[keep], enable_checkpointing=True)
    with pytest.raises(
        ValueError, match=r"`ckpt_path`: expected a run whose ModelCheckpoint has measured its monitor, got best"
    ):
        find_checkpoint("best", settings(tmp_path), resumes=True)


LOOP = ("loops", "fit_loop")
BATCHES = (*LOOP, "epoch_loop.batch_progress")


@pytest.mark.parametrize(
    ("removed", "message", "measurable"),
    [
        (("lightning_gft",), "expected one that GFTLitModule wrote, got another module's", False),
        (("lightning_gft", "identity"), "note `lightning_gft`: expected valid identity.*; use the version", False),
        (("optimizer_states",), r"got one without optimizer_states, as with ModelCheckpoint\.save_weights_only", True),
        (("update_guard",), "got one without update_guard, as with", True),
        (LOOP, r"fit_loop: .* got one without epoch_progress, epoch_loop\.batch_progress", True),
        (BATCHES, r"fit_loop: .* got one without epoch_loop\.batch_progress; resume", True),
    ],
)
def test_a_checkpoint_that_holds_too_little_is_refused(
    removed: tuple[str, ...], message: str, measurable: bool, run: Path, tmp_path: Path
):
    content = torch.load(run / "hpc_ckpt_1.ckpt", weights_only=True)
    *parents, name = removed
    part = content
    for parent in parents:
        part = part[parent]
    del part[name]
    path = tmp_path / "a: b.ckpt"
    torch.save(content, path)
    with pytest.raises(ValueError, match=rf"^`ckpt_path` \('{path}'\): the checkpoint.*{message}"):
        find_checkpoint(str(path), settings(tmp_path), resumes=True)
    with pytest.raises(ValueError, match=message):
        fit(make_module(evaluation=Evaluation(num_samples=2, max_new_tokens=4)), ckpt_path=str(path))
    if measurable:
        assert find_checkpoint(str(path), settings(tmp_path), resumes=False) == str(path)


@pytest.mark.parametrize("note", [{}, [], "a note", {"identity": 3}])
def test_a_foreign_note_is_refused(note: object, run: Path, tmp_path: Path):
    content = torch.load(run / "hpc_ckpt_1.ckpt", weights_only=True)
    content["lightning_gft"] = note
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match="note `lightning_gft`: expected valid identity"):
        find_checkpoint(str(tmp_path / "a.ckpt"), settings(tmp_path), resumes=False)


@pytest.mark.parametrize(
    ("choice", "remedy"),
    [
        ("lastt", "did you mean last?"),
        ("bset", "did you mean best?"),
        ("hpc_ckpt_2.ckpt", "did you mean {run}/hpc_ckpt_1.ckpt?"),
        ("nothing", "give a checkpoint's file or folder, `last`, `best` or `hpc`; the newest of 3 here are "),
    ],
)
def test_an_error_about_a_missing_checkpoint_lists_what_there_is(choice: str, remedy: str, run: Path):
    with pytest.raises(FileNotFoundError) as caught:
        find_checkpoint(choice, settings(run), resumes=True)
    expected = f"`ckpt_path` ({choice!r}): expected a checkpoint that exists, got none; "
    assert str(caught.value).startswith(f"{expected}{remedy.format(run=run)}")


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
        (Path.touch, "got a file that was cut short or is none"),
        pytest.param(write_text, "got a file that was cut short or is none", marks=pytest.mark.slow),
        (write_cut_short, "got a file that was cut short or is none"),
        (write_zip, "expected a checkpoint, got a file that is none ("),
        (write_weights, ": the checkpoint: expected one of a training run, got one without state_dict, loops, pytorch"),
        (write_objects, "expected tensors, numbers and texts alone, got other Python objects"),
        (Path.mkdir, "got a folder that holds no shards of one"),
    ],
)
def test_file_that_is_no_checkpoint_is_refused(write, message, capsys, tmp_path):
    path = tmp_path / "step: 3.ckpt"
    write(path)
    shown = refused(capsys, "fit", "--config", GFT, f"--ckpt_path={path}", *SMALL)
    assert f"error: `ckpt_path` ({str(path)!r})" in shown
    assert message in shown
    assert len(shown.strip().splitlines()) == 2  # with how to see the traceback
