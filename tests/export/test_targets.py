"""Where an exported policy goes: to a place that is free, seen to when a run begins."""

from __future__ import annotations

import errno
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest
from lightning.pytorch.loggers import CSVLogger

from lightning_gft import Policy
from lightning_gft.callbacks import HuggingFaceExport
from lightning_gft.export import export_policy, move_to_free
from tests.module.runs import fit, make_module


def trained() -> Any:
    module = make_module()
    fit(module)
    return module


def test_an_empty_folder_or_a_link_to_one_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    module = trained()
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "here")
    export_policy(module, tmp_path / "link")
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")
    export_policy(module, Path())
    for folder in ("here", "inside"):
        assert (tmp_path / folder / "config.json").exists()
        assert not [path for path in (tmp_path / folder).iterdir() if path.name.startswith(".")]


def test_without_a_path_each_run_writes_beside_its_logs(tmp_path: Path):
    export = HuggingFaceExport()
    for _ in range(2):
        fit(make_module(), logger=CSVLogger(tmp_path), callbacks=[export])
    for number in range(2):
        assert (tmp_path / f"lightning_logs/version_{number}/policy/config.json").exists()


def test_what_another_run_has_written_meanwhile_stays(tmp_path: Path):
    module = trained()
    assert export_policy(module, tmp_path / "policy").name == "policy"
    assert export_policy(module, tmp_path / "policy").name == "policy_1"


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch])
def test_of_those_that_finish_at_once_none_is_lost(make: Any, tmp_path: Path):
    made = [tmp_path / f"made_{number}" for number in range(8)]
    for path in made:
        make(path)
        if path.is_dir():
            (path / "file").touch()
    start, targets = Barrier(8), []

    def move(path: Path) -> None:
        start.wait()
        targets.append(move_to_free(path, tmp_path / "target").name)

    threads = [Thread(target=move, args=(path,)) for path in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(targets) == ["target", *(f"target_{number}" for number in range(1, 8))]


def test_a_folder_in_which_nothing_can_be_made_is_told_before_training():
    module = make_module()
    with pytest.raises(
        PermissionError, match=r"/proc/policy: expected a writable path, got /proc, where no file can be created \("
    ):
        fit(module, callbacks=[HuggingFaceExport("/proc/policy")])
    assert not hasattr(module, "policy")


def test_a_full_disk_is_told_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    module = trained()
    monkeypatch.setattr(Policy, "save_pretrained", full)
    with pytest.raises(OSError, match=r"expected a folder that .*No space left on device.*`lightning-gft export`"):
        export_policy(module, tmp_path / "policy")
    assert not list(tmp_path.iterdir())
