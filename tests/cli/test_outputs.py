"""What a run leaves behind: nothing of an earlier one, or of one beside it, is lost."""

from __future__ import annotations

from threading import Barrier, Thread

import pytest

from lightning_gft.cli import main
from lightning_gft.cli.outputs import default_loggers
from tests.cli.command import GFT, SFT, SMALL, logged, refused


def test_runs_that_start_at_once_get_folders_of_their_own(tmp_path):
    start, versions = Barrier(8), []

    def claim() -> None:
        start.wait()
        versions.append([logger.version for logger in default_loggers(str(tmp_path))])

    threads = [Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(versions) == [[number, number] for number in range(8)]


def test_a_file_called_config_is_left_alone_without_a_logger(tmp_path):
    (tmp_path / "config.yaml").write_text("mine")
    main(["fit", "--config", SFT, f"--trainer.default_root_dir={tmp_path}", "--trainer.logger=false", *SMALL])
    assert (tmp_path / "config.yaml").read_text() == "mine"


def test_a_logger_without_versions_keeps_every_configuration(tmp_path):
    logger = (
        "--trainer.logger=lightning.pytorch.loggers.CSVLogger",
        f"--trainer.logger.save_dir={tmp_path}",
        "--trainer.logger.name=",
        "--trainer.logger.version=",
    )
    (tmp_path / "config.yaml").write_text("mine")
    main(["validate", "--config", SFT, f"--trainer.default_root_dir={tmp_path}", *logger, *SMALL])
    assert (tmp_path / "config.yaml").read_text() == "mine"
    assert "seed_everything: 0" in (tmp_path / "config_1.yaml").read_text()


def test_groups_are_not_written_over(tmp_path, capsys):
    (tmp_path / "groups").write_text("mine")
    shown = refused(capsys, "predict", "--config", GFT, f"--trainer.default_root_dir={tmp_path}", *SMALL)
    assert (
        f"error: {tmp_path}/groups: expected a new path or an empty folder, got existing files; choose another" in shown
    )
    assert (tmp_path / "groups").read_text() == "mine"


@pytest.mark.parametrize(
    ("path", "message"),
    [("policy", "expected a new path or an empty folder"), ("policy/config.json/export", "is no folder")],
)
def test_export_that_could_not_be_written_is_refused_before_training(path, message, tmp_path, capsys):
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy/config.json").write_text("mine")
    overlay = tmp_path / "export.yaml"
    export = f"{{class_path: lightning_gft.callbacks.HuggingFaceExport, init_args: {{path: {tmp_path / path}}}}}"
    overlay.write_text(f"trainer: {{callbacks: [{export}]}}")
    root = tmp_path / "run"
    shown = refused(
        capsys, "fit", "--config", SFT, "--config", str(overlay), f"--trainer.default_root_dir={root}", *SMALL
    )
    assert message in shown
    assert not list(root.rglob("metrics.csv"))


@pytest.mark.parametrize(("subcommand", "stage"), [("fit", "val"), ("validate", "val"), ("test", "test")])
def test_figures_are_shown_once_and_briefly(subcommand, stage, tmp_path, capsys):
    main([subcommand, "--config", GFT, f"--trainer.default_root_dir={tmp_path}", *SMALL])
    shown = capsys.readouterr().out
    assert shown.count("greedy_accuracy") == 1
    for part in (stage, "main", "second_skill", f"Logs: {tmp_path}/lightning_logs/version_0"):
        assert part in shown
    assert len(logged(tmp_path)) > 0
    assert "Nothing was learnt" not in shown
    assert "Step 2 of 2" not in shown  # `SMALL` asks for no progress
    assert max(len(line) for line in shown.splitlines() if not line.startswith(("Logs", "The trained"))) <= 80


def test_a_run_without_any_difference_in_reward_says_so(tmp_path, capsys):
    reward = "--model.sampler.rewards.accuracy.marker=nowhere"
    main(["fit", "--config", GFT, f"--trainer.default_root_dir={tmp_path}", *SMALL, reward])
    assert "Nothing was learnt: no sequence carried a gradient" in capsys.readouterr().out


def test_version_is_told(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.strip() == "lightning-gft 0.1.0"


@pytest.mark.parametrize("mistake", ["--trainer.strategy=warp", "--model.optimizer.lr=-1", "monitor"])
def test_a_run_that_is_refused_leaves_nothing(mistake, tmp_path, capsys):
    overlay = tmp_path / "stop.yaml"
    stopping = "{class_path: lightning.pytorch.callbacks.EarlyStopping, init_args: {monitor: val/mean@8}}"
    overlay.write_text(f"trainer: {{callbacks: [{stopping}]}}")
    given = ("--config", str(overlay)) if mistake == "monitor" else (mistake,)
    root = tmp_path / "runs" / "run"
    shown = refused(capsys, "fit", "--config", GFT, f"--trainer.default_root_dir={root}", *SMALL, *given)
    assert mistake != "monitor" or "did you mean val/mean@2?" in shown
    assert not root.parent.exists()
