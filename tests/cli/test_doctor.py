"""The doctor reports successes, failures with remedies, and failures that end with status 1."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch

from lightning_gft.cli import main
from lightning_gft.cli.doctor import command, devices, libraries, quantised, ranks, sections, training
from lightning_gft.cli.doctor.files import check_folders
from lightning_gft.cli.doctor.finding import Finding
from tests.forking import HANG, forking


def output(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *findings: Finding) -> str:
    """Return what the command prints of findings."""
    monkeypatch.setattr(command, "SECTIONS", {"Section": lambda: iter(findings)})
    main(["doctor"])
    return capsys.readouterr().out


def test_what_does_not_work_has_a_remedy_and_is_no_failure(capsys, monkeypatch):
    gpu = Finding("gpu", False, "none available", "install a driver")
    lines = output(capsys, monkeypatch, Finding("cpu", True, "2 cores", "buy one"), gpu).splitlines()
    assert lines[1:] == [
        "Section",
        "  ok     cpu: 2 cores",
        "  no     gpu: none available",
        "         -> install a driver",
        "lightning-gft works here, but not: gpu",
    ]


def test_what_nothing_works_without_is_a_failure(capsys, monkeypatch):
    with pytest.raises(SystemExit) as stop:
        output(capsys, monkeypatch, Finding("torch", False, "broken", "install it again", needed=True))
    assert stop.value.code == 1
    printed = capsys.readouterr().out
    assert "  error  torch: broken\n         -> install it again\n" in printed
    assert printed.endswith("lightning-gft cannot work here: torch\n")


def test_libraries_of_this_environment():
    found = {finding.name: finding for finding in libraries.check_libraries()}
    assert found["python"].works
    assert found["required"].needed
    assert f"torch {torch.__version__}" in found["required"].detail
    assert "peft" in found["for adapters"].detail
    assert set(found) == {"python", "required", *(f"for {purpose}" for purpose in libraries.EXTRAS.values())}


@pytest.mark.parametrize(
    ("installed", "detail"),
    [({"torch": "2.1.0+cpu"}, "torch is 2.1.0+cpu, not >="), ({"torch": ""}, "torch is not installed")],
)
def test_a_library_that_is_missing_or_too_old(installed, detail, monkeypatch):
    def version(name: str) -> str:
        if installed.get(name) == "":
            raise metadata.PackageNotFoundError(name)
        return installed.get(name) or metadata.version(name)

    monkeypatch.setattr(libraries, "version", version)
    found = {finding.name: finding for finding in libraries.check_libraries()}
    assert not found["required"].works
    assert found["required"].detail.startswith(detail)


def test_a_package_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(libraries, "PACKAGE", "lightning-gft-of-elsewhere")
    (finding,) = libraries.check_libraries()
    assert (finding.works, finding.needed) == (False, True)


def test_devices_of_this_machine():
    found = {finding.name: finding for finding in devices.check_devices()}
    assert found["cpu"].works
    assert "math in float32" in found["attention on cpu"].detail.replace("flash, ", "")
    assert found["bfloat16 on cpu"].works
    assert ("gpu" in found) == (len(devices.available()) == 1)


def test_quantised_products_are_right():
    pytest.importorskip("bitsandbytes")
    found = [finding for finding in quantised.check_quantisation() if finding.name.endswith("cpu")]
    assert [finding.works for finding in found] == [True, True], found


def test_a_quantised_product_that_is_wrong(monkeypatch):
    pytest.importorskip("bitsandbytes")
    monkeypatch.setattr(quantised, "_ERRORS", {4: 0.0})
    (found, *_) = quantised.check_quantisation()
    assert not found.works
    assert found.detail.startswith("a product is off by ")


def test_without_bitsandbytes_the_remedy_installs_it(monkeypatch):
    monkeypatch.setattr(quantised, "find_spec", lambda name: None)
    (found,) = quantised.check_quantisation()
    assert (found.works, found.remedy) == (False, "pip install 'lightning-gft[qlora]'")


def test_folders_that_cannot_be_written_to(monkeypatch):
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/dev/null/tmp")
    found = {finding.name: finding for finding in check_folders()}
    assert found["this folder"].works
    assert "GiB free" in found["this folder"].detail
    assert not found["temporary files"].works
    assert "TMPDIR" in found["temporary files"].remedy


def find_ranks(found: Connection) -> None:
    found.send([finding.works for finding in ranks.check_ranks()])


@pytest.mark.slow
def test_ranks_meet():
    ours, theirs = forking().Pipe(duplex=False)
    process = forking().Process(target=find_ranks, args=(theirs,))  # which forks the ranks, so it has no threads
    process.start()
    theirs.close()
    assert ours.recv()[0]
    process.join(HANG)


BROKEN = """
import os, signal
from lightning_gft.cli.doctor.finding import Finding

def crash():
    yield Finding("first", True, "before the crash")
    print("a library's own words")
    os.kill(os.getpid(), signal.SIGSEGV)

def fail():
    raise OSError("libcudart.so: cannot open shared object file")
    yield
"""


@pytest.mark.parametrize(
    ("name", "works", "detail"),
    [
        ("crash", [True, False], "its process crashed with SIGSEGV"),
        ("fail", [False], "OSError: libcudart.so: cannot open shared object file"),
    ],
)
def test_a_section_that_breaks_is_a_finding(name, works, detail, tmp_path: Path, monkeypatch):
    (tmp_path / "broken.py").write_text(BROKEN)
    starts = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import broken; "
    starts += "sys.modules['lightning_gft.cli.doctor.broken'] = broken; "
    starts += "from lightning_gft.cli.doctor.sections import main; main('broken', sys.argv[-1])"
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda args, **rest: run([args[0], "-c", starts, *args[4:]], **rest))
    findings = list(sections.in_process("torch", "broken", name, needed=True))
    assert [finding.works for finding in findings] == works
    assert findings[-1].detail == detail
    assert findings[-1].name == "torch"
    assert findings[-1].needed


def test_a_section_imports_nothing_from_the_current_folder(tmp_path: Path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.chdir(tmp_path)
    found = list(sections.in_process("folders", "files", "check_folders", needed=False))
    assert [finding.name for finding in found] == ["this folder", "temporary files", "downloads from the hub"]


def test_the_error_of_a_training_step_is_its_finding(monkeypatch):
    monkeypatch.setattr(training, "_QUICK", ("--trainer.max_steps=some",))
    finding = next(training.check_training())
    assert not finding.works
    assert finding.needed
    assert "trainer.max_steps" in finding.detail


def test_a_section_that_hangs_is_a_finding(monkeypatch):
    def hang(args: list[str], timeout: float, **_: object) -> None:
        raise subprocess.TimeoutExpired(args, timeout)

    monkeypatch.setattr(subprocess, "run", hang)
    (finding,) = sections.in_process("bitsandbytes", "quantised", "check_quantisation", needed=False)
    assert finding.detail == "no answer within 600 seconds"


@pytest.mark.slow
def test_the_whole_examination(tmp_path: Path):
    """It imports what training imports in a process of its own, and takes a step there."""
    args = [sys.executable, "-m", "lightning_gft", "doctor"]
    ended = subprocess.run(args, capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    for line in ("  ok     training on cpu: a step of GFT on the package's own policy", "  ok     gloo: two ranks"):
        assert line in ended.stdout
    assert list(tmp_path.iterdir()) == [], "no trace"
