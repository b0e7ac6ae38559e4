"""``lightning-gft quickstart``: three runs and their comparison, each once, from a wheel as from a checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path
from types import SimpleNamespace

import pytest
from hatchling import build

from lightning_gft.cli import main, quickstart
from lightning_gft.cli.shipped import shipped
from tests.cli.command import ROOT, SMALL
from tests.report.logged import train, val, write_log

SEE = "See: lightning-gft quickstart --help\n"


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The arguments of each run, in place of which a log is written."""
    calls: list[list[str]] = []

    def run() -> None:
        calls.append(sys.argv[1:])
        (folder,) = (arg.partition("=")[2] for arg in sys.argv if arg.startswith("--trainer.default_root_dir="))
        if not Path(folder).exists():
            write_log(Path(folder), [val(0, 0.5)] if sys.argv[1] == "validate" else [train(1), val(1, 0.75)])

    monkeypatch.setitem(sys.modules, "lightning_gft.cli.running", SimpleNamespace(run=run))
    return calls


def test_three_runs_and_their_comparison(ran, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = [*sys.argv]
    main(["quickstart"])
    configs = shipped()
    assert [call[:2] for call in ran] == [
        ["validate", f"--config={configs['configs/quickstart/gft.yaml']}"],
        ["fit", f"--config={configs['configs/quickstart/sft.yaml']}"],
        ["fit", f"--config={configs['configs/quickstart/gft.yaml']}"],
    ]
    assert sys.argv == before
    printed = capsys.readouterr().out
    assert "┃ base ┃  SFT ┃  GFT ┃" in printed
    assert Path("runs/quickstart/compared/report.html").is_file()


def test_a_complete_run_is_not_repeated(ran, tmp_path, capsys):
    output = f"--output={tmp_path / 'out'}"
    main(["quickstart", output])
    main(["quickstart", output])
    assert len(ran) == 3
    assert f"SFT: complete in {tmp_path / 'out/sft'}\n" in capsys.readouterr().out
    main(["quickstart", output, "--", "--data.seed=1"])
    assert len(ran) == 6
    assert all(call[2:-1] == ["--data.seed=1"] for call in ran[3:])


def test_other_code_or_settings_repeat_it(monkeypatch, tmp_path):
    args = ["fit", "--config=a.yaml"]
    first = quickstart._fingerprint(args)
    assert quickstart._fingerprint(args) == first
    assert quickstart._fingerprint([*args, "--data.seed=1"]) != first
    changed = tmp_path / "gft.yaml"
    changed.write_text("seed_everything: 1\n")
    monkeypatch.setattr(quickstart, "shipped", lambda: {"configs/quickstart/gft.yaml": changed})
    assert quickstart._fingerprint(args) != first


def test_a_run_that_was_stopped_is_not_complete(ran, tmp_path, monkeypatch):
    def stop() -> None:
        raise SystemExit(130)

    whole = sys.modules["lightning_gft.cli.running"]
    monkeypatch.setitem(sys.modules, "lightning_gft.cli.running", SimpleNamespace(run=stop))
    with pytest.raises(SystemExit) as stopped:
        main(["quickstart", f"--output={tmp_path}"])
    assert stopped.value.code == 130
    monkeypatch.setitem(sys.modules, "lightning_gft.cli.running", whole)
    main(["quickstart", f"--output={tmp_path}"])
    assert len(ran) == 3


@pytest.mark.parametrize(
    ("setting", "content", "named"),
    [
        ("--trainer.default_root_dir=a", "", "trainer.default_root_dir in '--trainer.default_root_dir=a'"),
        ("--trainer.logger.save_dir=a", "", "trainer.logger in '--trainer.logger.save_dir=a'"),
        ("--trainer.logger+=CSVLogger", "", "trainer.logger in '--trainer.logger+=CSVLogger'"),
        ("--trainer.fast_dev_run=2", "", "trainer.fast_dev_run in '--trainer.fast_dev_run=2'"),
        (
            "--trainer={max_steps: 3, fast_dev_run: true}",
            "",
            "trainer.fast_dev_run in '--trainer={max_steps: 3, fast_dev_run: true}'",
        ),
        ("--config=my.yaml", "trainer: {default_root_dir: runs}", "trainer.default_root_dir in my.yaml"),
        ("--config=my.yaml", "trainer: {logger: false}", "trainer.logger in my.yaml"),
        ("--config=my.yaml", "trainer: {logger: {class_path: CSVLogger}}", "trainer.logger in my.yaml"),
        ("--config=my.yaml", "trainer: {max_steps: 1, fast_dev_run: 2}", "trainer.fast_dev_run in my.yaml"),
    ],
)
def test_settings_that_move_the_logs_are_refused_before_any_run(
    ran, setting, content, named, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Path("my.yaml").write_text(content)
    with pytest.raises(SystemExit):
        main(["quickstart", "--", "--data.seed=1", setting])
    assert capsys.readouterr().err == (
        f"{SEE}error: `SETTING`: expected settings that keep the runs' logs in their folders, got {named}; leave it "
        "out, and choose the folder by --output\n"
    )
    assert not ran


@pytest.mark.parametrize(
    ("setting", "where"), [("--trainer=my.yaml", "'--trainer=my.yaml'"), ("--config=my.yaml", "my.yaml")]
)
def test_a_trainer_in_a_file_of_its_own_is_refused(ran, setting, where, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("my.yaml").write_text("trainer: my.yaml\n")
    with pytest.raises(SystemExit):
        main(["quickstart", "--", setting])
    assert capsys.readouterr().err == (
        f"{SEE}error: `SETTING`: expected trainer to be a mapping, got 'my.yaml' in {where}; give a file of settings "
        "by --config\n"
    )
    assert not ran


@pytest.mark.parametrize(
    "setting",
    [
        "--trainer.logger=true",
        pytest.param("--trainer.fast_dev_run=false", marks=pytest.mark.slow),
        pytest.param("--trainer.max_steps=[", marks=pytest.mark.slow),
        "--trainer={max_steps: 3}",
    ],
)
def test_settings_of_the_trainer_that_leave_the_logs_are_those_of_all_runs(ran, setting, tmp_path):
    main(["quickstart", f"--output={tmp_path}", "--", setting])
    assert [call[2:-1] for call in ran] == [[setting]] * 3


def test_other_settings_in_a_file_are_those_of_all_runs(ran, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("my.yaml").write_text("trainer: {max_steps: 3, logger: true, default_root_dir: null}\nseed_everything: 1\n")
    main(["quickstart", "--", "--config=my.yaml"])
    assert [call[2:-1] for call in ran] == [["--config=my.yaml"]] * 3
    with pytest.raises(SystemExit):
        main(["quickstart", "--", "--config=none.yaml"])
    assert "error: `--config=none.yaml`: expected a YAML file, got No such file" in capsys.readouterr().err


@pytest.mark.slow
def test_a_wheel_works_without_the_checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    wheel = build.build_wheel(str(tmp_path))
    venv.create(tmp_path / "venv", symlinks=True)
    python = tmp_path / "venv/bin/python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, str(tmp_path / wheel)], check=True)
    (site,) = (tmp_path / "venv").glob("lib/*/site-packages")
    (site / "others.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    away = tmp_path / "away"
    away.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def called(program: str, *args: str) -> str:
        command = [str(python.with_name(program)), *args]
        ended = subprocess.run(command, cwd=away, env=environment, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    assert called("python", "-c", "import lightning_gft; print(lightning_gft.__path__[0])").strip() == str(
        site / "lightning_gft"
    )
    settings = ["--", *(setting for setting in SMALL if "batch_size" not in setting)]
    printed = called("lightning-gft", "quickstart", *settings)
    assert "│ greedy" in printed
    assert (away / "runs/quickstart/compared/report.html").is_file()
    assert called("lightning-gft", "quickstart", *settings).count(": complete in runs/quickstart/compared/") == 3
    called("lightning-gft", "configs", "copy", "--all")
    overlays = ["--config=configs/quickstart/gft.yaml", "--config=configs/overlays/grpo.yaml"]
    assert "GRPOLoss" in called("lightning-gft", "fit", *overlays, "--print_config")
    assert sorted(path.name for path in away.iterdir()) == ["configs", "runs"]
