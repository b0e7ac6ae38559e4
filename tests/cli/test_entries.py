"""An error about one entry of a set of parts names this entry."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightning_gft import GroupSampler
from lightning_gft.callbacks import StageSchedule
from lightning_gft.cli.entries import abstract_class
from lightning_gft.cli.parsing import Parser
from tests.cli.command import GFT, refused

SOURCES = "{expert: {class_path: ExpertSource}, self: {class_path: SelfSource}, %s}"
KINDS = "ChosenSource, EndpointSource, ExpertSource, SelfSource, StoredSource, TeacherSource"


def report(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    parser = Parser(prog="lightning-gft")
    parser.add_argument("--config", action="config")
    parser.add_subclass_arguments(GroupSampler, "sampler")
    parser.add_argument("--schedules", type=list[StageSchedule])
    with pytest.raises(SystemExit):
        parser.parse_args([*args])
    return capsys.readouterr().err.splitlines()[-1]


def in_file(folder: Path, sources: str) -> str:
    path = folder / "run.yaml"
    rewards = "{accuracy: {class_path: ExactMatchReward}}"
    init_args = f"{{sources: {sources}, rewards: {rewards}}}"
    path.write_text(f"sampler: {{class_path: lightning_gft.GroupSampler, init_args: {init_args}}}")
    return f"--config={path}"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("selff: {init_args: {top_k: 3}}", "selff`: expected a class_path, got none; did you mean self?"),
        (
            "more: {init_args: {top_k: 3}}",
            "more`: expected a class_path, got none; add it; the others are expert, self",
        ),
        ("more: {class_path: SelfSorce}", "more`: expected a class_path, got 'SelfSorce'; did you mean SelfSource?"),
        (
            "more: {class_path: lightning_gft.SelfSorce}",
            "more`: expected a class_path, got lightning_gft.SelfSorce, which does not exist; did you mean SelfSource?",
        ),
        (
            "more: {class_path: nowhere.Source}",
            "more`: expected a class_path that can be imported, got nowhere.Source (No module named 'nowhere')",
        ),
        (
            "more: {class_path: lightning_gft.GFTLoss}",
            f"more`: expected a ResponseSource, got 'lightning_gft.GFTLoss'; choose one of {KINDS}",
        ),
        ("more: Nothing", f"more`: expected a class_path, got 'Nothing'; choose one of {KINDS}"),
        (
            "more: {class_path: lightning_gft.ResponseSource}",
            "more`: expected a class with all methods, got lightning_gft.ResponseSource, which lacks respond; write "
            "them",
        ),
    ],
)
def test_an_entry_of_a_file_is_named(entry: str, message: str, capsys, tmp_path: Path):
    assert report(capsys, in_file(tmp_path, SOURCES % entry)) == f"error: `sampler.sources.{message}"


def test_a_class_whose_methods_are_not_known_is_named_without_a_list():
    expected = "expected a class with all methods, got nowhere.Engine; name a class derived from it"
    assert abstract_class("nowhere.Engine") == expected


@pytest.mark.parametrize("written", ["selff.top_k=3", "selff.init_args.top_k=3"])
def test_a_misspelt_entry_of_the_command_line_is_named(written: str, capsys, tmp_path: Path):
    shown = report(capsys, in_file(tmp_path, "{self: {class_path: SelfSource}}"), f"--sampler.sources.{written}")
    assert shown == "error: `sampler.sources.selff`: expected a class_path, got none; did you mean self?"


def test_an_entry_of_a_set_within_an_entry_of_a_list_is_named(capsys):
    stages = "{one: {loss: {class_path: SFTLoss}, sources: {own: {class_path: SelfSorce}}}, two: {max_steps: 3}}"
    schedule = "{class_path: lightning_gft.callbacks.StageSchedule, init_args: {stages: %s}}"
    assert report(capsys, f"--schedules=[{schedule % stages}]") == (
        "error: `schedules[0].stages.one.sources.own`: expected a class_path, got 'SelfSorce'; did you mean SelfSource?"
    )


def test_an_entry_of_a_list_is_named_by_its_number(capsys, tmp_path: Path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "base.yaml").write_bytes(Path(GFT).read_bytes())
    own = tmp_path / "elsewhere/own.yaml"
    own.write_text("trainer: {callbacks: [{class_path: ModelCheckpoint}, {class_path: ModelCheckpont}]}")
    monkeypatch.chdir(tmp_path)  # paths are relative to it, whichever file is being read
    shown = refused(capsys, "fit", "--config=base.yaml", f"--config={own}")
    assert "error: `trainer.callbacks[1]`: expected a class_path, got 'ModelCheckpont'; did you mean" in shown
