"""The record of a run: what was run, where it started, and nothing of where it ran."""

from __future__ import annotations

import json
import os
import platform
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from lightning_gft import GFTLoss, RunRecord, __version__, record
from lightning_gft.callbacks import record_folder
from lightning_gft.types import TrainedTokens
from tests.module.runs import ROWS, Rows, fit, make_module, make_trainer


def run_json(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text())


def logged_fit(root: Path, version: str = "", **arguments: Any) -> Path:
    """Train a few steps beside logs, and return their folder."""
    logger = CSVLogger(str(root), name="", version=version)
    fit(
        make_module(), Rows(val_rows=ROWS[:2]), logger=logger, callbacks=[RunRecord()], log_every_n_steps=1, **arguments
    )
    return root / version


def test_what_was_run(tmp_path):
    module = make_module()
    data = Rows(val_rows=ROWS[:2])
    fit(module, data, max_steps=1, logger=CSVLogger(str(tmp_path), name="", version="a"), callbacks=[RunRecord()])
    written = run_json(tmp_path / "a")
    assert written["version"] == 1
    assert written["versions"]["lightning_gft"] == __version__
    assert written["versions"]["torch"] == torch.__version__
    assert written["versions"]["python"] == platform.python_version()
    assert written["versions"].keys() == {"lightning_gft", "torch", "transformers", "lightning", "python"}
    assert written["device"] == {"kind": "cpu", "name": platform.machine(), "count": 1}
    assert (written["world_size"], written["precision"], written["model"]) == (1, "32-true", "ScratchPolicy")
    number = sum(weight.numel() for weight in module.policy.model.parameters())
    assert written["parameters"] == written["trainable"] == number
    assert written["data"] == {"train": len(ROWS), "val": {"": 2}}
    assert written["starts"] == [{"started": written["started"], "step": 0}]


def test_nothing_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    text = (logged_fit(tmp_path, "a", max_steps=1) / "run.json").read_text()
    for word in (str(tmp_path), str(Path.cwd()), "sk-very-secret", platform.node(), os.environ.get("USER") or "root"):
        assert word not in text
    assert not re.search(r"[/\\]\w", text)


def test_a_resumed_run_appends_its_start(tmp_path):
    folder = tmp_path / "a"

    def run(max_steps: int, **arguments: Any) -> None:
        trainer = fit(
            make_module(),
            Rows(batch_size=1),
            max_steps=max_steps,
            callbacks=[RunRecord()],
            log_every_n_steps=1,
            logger=CSVLogger(str(tmp_path), name="", version="a"),
            **arguments,
        )
        trainer.save_checkpoint(tmp_path / f"{max_steps}.ckpt")

    run(2)
    run(3, ckpt_path=str(tmp_path / "2.ckpt"))
    run(4, ckpt_path=str(tmp_path / "2.ckpt"))
    assert [start["step"] for start in run_json(folder)["starts"]] == [0, 2, 2]
    run(1)
    assert [start["step"] for start in run_json(folder)["starts"]] == [0]


def weight_rows(folder: Path) -> list[dict[str, Any]]:
    return record.read_rows(folder / record.WEIGHTS)[0]


def test_weights_before_and_after_of_each_logged_step(tmp_path):
    seen: list[TrainedTokens] = []

    class Tokens(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *_: Any) -> None:
            seen.append(outputs["trained"])

    module, logger = make_module(GFTLoss()), CSVLogger(str(tmp_path), name="", version="a")
    fit(module, Rows(batch_size=1), logger=logger, callbacks=[Tokens(), RunRecord()], log_every_n_steps=2)
    rows = weight_rows(tmp_path / "a")
    assert [row["step"] for row in rows] == [2, 4]
    for row, trained in zip(rows, seen[1::2], strict=True):
        assert row.keys() == {"step", "before", "after"}
        before = (-trained.tokens.logprobs.double()).exp()
        for when, weights in (("before", before), ("after", before * trained.factors.double())):
            expected: dict[str, int] = {}
            for weight in weights.tolist():
                edges = ((number, *record.bin_edges(number)) for number in range(record.BELOW, record.ABOVE + 1))
                (number,) = (number for number, low, high in edges if low <= weight < high)
                expected[str(number)] = expected.get(str(number), 0) + 1
            assert row[when] == {"teacher": expected}
    metrics = (tmp_path / "a/metrics.csv").read_text().splitlines()
    assert len(metrics) == 1 + len(rows)


def test_rows_of_a_run_that_was_killed_do_not_come_twice(tmp_path):
    def run(max_steps: int, **arguments: Any) -> None:
        logger = CSVLogger(str(tmp_path), name="", version="a")
        callbacks = [RunRecord(), ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)]
        fit(
            make_module(),
            Rows(batch_size=1),
            max_steps=max_steps,
            callbacks=callbacks,
            enable_checkpointing=True,
            log_every_n_steps=1,
            logger=logger,
            **arguments,
        )

    run(4)
    whole = weight_rows(tmp_path / "a")
    assert [row["step"] for row in whole] == [1, 2, 3, 4]
    with (tmp_path / "a/weights.jsonl").open("a") as file:
        file.write('{"step": 5, "bef')  # as far as it came
    run(3, ckpt_path=str(tmp_path / "step=2.ckpt"))
    assert weight_rows(tmp_path / "a") == whole[:3]
    with (tmp_path / "a/weights.jsonl").open("ab") as file:
        file.write(b'{"step": 3, "b\xff\0\n')  # as a disk may leave it
    with pytest.warns(UserWarning, match=r"weights.jsonl`: expected JSON with a step in line 4.* are left out"):
        run(3, ckpt_path=str(tmp_path / "step=2.ckpt"))
    assert weight_rows(tmp_path / "a") == whole[:3]
    run(1)
    assert weight_rows(tmp_path / "a") == whole[:1]


def test_runs_that_are_not_logged_leave_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fit(make_module(), max_steps=1, callbacks=[RunRecord()], default_root_dir=str(tmp_path))
    fit(make_module(), callbacks=[RunRecord()], default_root_dir=str(tmp_path), fast_dev_run=True, logger=None)
    assert not [*tmp_path.rglob("run.json")]


def test_logs_that_are_elsewhere_are_warned_of():
    with pytest.warns(UserWarning, match="leaves no record"):
        assert record_folder(make_trainer(logger=CSVLogger("memory://logs"))) is None


@pytest.mark.parametrize("text", ["", "mine", "[]", '{"mine": 1}'])
def test_a_file_of_another_kind_is_kept_under_another_name(tmp_path, text: str):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/run.json").write_text(text)
    with pytest.warns(UserWarning, match=r"run.json`: expected the record of an earlier run, .*as run.damaged-0"):
        logged_fit(tmp_path, "a", max_steps=1)
    assert (tmp_path / "a/run.damaged-0").read_text() == text
    assert [start["step"] for start in run_json(tmp_path / "a")["starts"]] == [0]


@pytest.mark.parametrize("name", ["run.json", "weights.jsonl"])
def test_a_record_that_cannot_be_written_does_not_end_the_run(tmp_path, name: str):
    (tmp_path / "a" / name).mkdir(parents=True)
    with pytest.warns(UserWarning, match=rf"RunRecord writes no more: .*{name}") as warned:
        assert logged_fit(tmp_path, "a", max_steps=3).is_dir()
    assert len([each for each in warned if "RunRecord" in str(each.message)]) == 1


def test_a_disk_that_fills_up_does_not_end_the_run(tmp_path, monkeypatch):
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(record, "append_row", full)
    with pytest.warns(UserWarning, match="RunRecord writes no more: .*No space left on device"):
        assert run_json(logged_fit(tmp_path, "a", max_steps=3))["starts"]
