"""The package's configurations: in the wheel, listed, copied, and named where one is missing."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import pytest
from hatchling import build

import lightning_gft
from lightning_gft.cli import main
from lightning_gft.cli.shipped import copy, description, shipped
from tests.cli.command import ROOT, refused

OWN = {path.relative_to(ROOT).as_posix(): path for path in ROOT.glob("configs/**/*.yaml")}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A wheel and a source distribution, by the backend that pyproject.toml names."""
    folder = tmp_path_factory.mktemp("dist")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return folder / build.build_wheel(str(folder)), folder / build.build_sdist(str(folder))


def test_wheel_has_all_that_the_package_reads(built):
    with zipfile.ZipFile(built[0]) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        contents = {name: wheel.read(f"lightning_gft/{name}") for name in OWN}
    assert contents == {name: path.read_bytes() for name, path in OWN.items()}
    package = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("lightning_gft/**/*") if path.is_file()}
    package = {name for name in package if "__pycache__" not in name}
    assert names == package | {f"lightning_gft/{name}" for name in OWN}
    assert {"lightning_gft/py.typed", "lightning_gft/arithmetic/assets/arithmetic/model.safetensors"} <= names


def test_source_distribution_builds_the_same_wheel(built, tmp_path, monkeypatch):
    wheel, source = built
    with tarfile.open(source) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path / source.name.removesuffix(".tar.gz"))
    again = tmp_path / build.build_wheel(str(tmp_path))
    assert again.read_bytes() == wheel.read_bytes()


def test_configurations_are_found_in_the_package_first(tmp_path, monkeypatch):
    assert shipped() == {**OWN}
    (tmp_path / "lightning_gft/configs/overlays").mkdir(parents=True)
    monkeypatch.setattr(lightning_gft, "__file__", str(tmp_path / "lightning_gft/__init__.py"))
    with pytest.raises(ValueError, match="install lightning-gft again"):
        shipped()
    inner = tmp_path / "lightning_gft/configs/overlays/a.yaml"
    inner.write_text("# One.\n")
    assert shipped() == {"configs/overlays/a.yaml": inner}


def test_the_list_says_what_each_is_for(capsys):
    main(["configs"])
    lines = capsys.readouterr().out.splitlines()
    assert dict(zip(lines[::2], lines[1::2], strict=True)) == {
        name: f"    {description(path)}" for name, path in shipped().items()
    }
    assert all(description(path).endswith(".") and len(description(path)) > 40 for path in OWN.values())
    assert (
        "    Overlay for a GFT configuration: Dr. GRPO (arXiv 2503.20783), GRPO without its two biases:"
        in "\n".join(lines)
    )
    main(["configs", "list"])
    assert capsys.readouterr().out.splitlines() == lines


def test_a_copy_is_where_the_documentation_names_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["configs", "copy", "configs/overlays/grpo.yaml", "gsm8k.yaml"])
    assert capsys.readouterr().out == "configs/overlays/grpo.yaml\nconfigs/gsm8k.yaml\n"
    main(["configs", "copy", "--all"])  # over copies that are unchanged
    assert {name: Path(name).read_bytes() for name in OWN} == {name: path.read_bytes() for name, path in OWN.items()}
    main(["configs", "copy", "--all", "--to", "elsewhere"])
    assert Path("elsewhere/overlays/grpo.yaml").read_bytes() == OWN["configs/overlays/grpo.yaml"].read_bytes()


def test_a_copy_never_replaces_another_file(tmp_path, capsys):
    (tmp_path / "overlays").mkdir()
    (tmp_path / "overlays/grpo.yaml").write_text("mine")
    (tmp_path / "gsm8k.yaml").mkdir()
    printed = refused(capsys, "configs", "copy", "--all", "--to", str(tmp_path))
    assert printed.startswith("error: `--to`: expected a folder without other files of these names, got ")
    assert f"{tmp_path}/gsm8k.yaml, {tmp_path}/overlays/grpo.yaml" in printed
    assert (tmp_path / "overlays/grpo.yaml").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gsm8k.yaml", "overlays"], "nothing is copied"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["copy"], "`NAME`: expected names, or --all and no name"),
        (["copy", "--all", "gsm8k.yaml"], "`NAME`: expected names, or --all and no name"),
        (["copy", "overlays/grop.yaml"], "got 'overlays/grop.yaml'; did you mean configs/overlays/grpo.yaml?"),
        (["copy", "../setup.cfg"], "`NAME`: expected one of the package's configurations"),
        (["copy", "--all", "--to", "/dev/null/x"], "`--to`: expected a folder that can be written to"),
        (["paste"], "invalid choice: 'paste'"),
    ],
)
def test_mistakes_are_reported(args, message, capsys):
    assert message in refused(capsys, "configs", *args)


def test_a_missing_configuration_of_the_package_can_be_copied(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    printed = refused(capsys, "fit", "--config=configs/overlays/grpo.yaml")
    assert "`lightning-gft configs copy configs/overlays/grpo.yaml` copies the package's to it" in printed
    assert "give another path" in refused(capsys, "fit", "--config=configs/overlays/mine.yaml")
    copy(["configs/overlays/grpo.yaml"], tmp_path / "configs")
    assert "; did you mean configs/overlays/grpo.yaml?" in refused(
        capsys, "fit", "--config=configs/overlays/grpoo.yaml"
    )
    assert "configs/overlays/grpo.yaml" not in refused(capsys, "fit", "--config=configs/overlays/grpo.yaml")
