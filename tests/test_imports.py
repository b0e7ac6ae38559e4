"""The package's imports go one way, and the project's files stay small."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import lightning_gft

PACKAGE = Path(lightning_gft.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
ROOT = Path(__file__).parents[1]
UNTRACKED = {"runs", "build"}
"""Folders of what was made, beside those whose names begin with a dot."""
ORDER = [
    {"errors"},
    {"checks", "hub", "seeds"},
    {"sampling", "parts"},
    {"types"},
    {"functional", "optimization", "schedules", "chat"},
    {"lm", "metrics", "data"},
    {"rewards", "advantages", "rectifiers", "rollout"},
    {"policy"},
    {"arithmetic"},
    {"sources", "losses"},
    {"sampler"},
    {"evaluation", "statistics"},
    {"guards", "preflight", "checkpoint"},
    {"strategies", "evaluated"},
    {"updated"},
    {"module"},
    {"export"},
    {"callbacks"},
    {"cli"},
    {"__main__"},
]
LAYER = {part: number for number, parts in enumerate(ORDER) for part in parts}
APART: dict[str, set[str]] = {
    "data": {"errors", "types", "checks", "functional", "hub", "chat"},
    "report": {"errors"},
}
"""Parts that import less than the order would allow."""


def part_of(module: str) -> str:
    """Return the part of the package that a dotted module name belongs to; empty for the package itself."""
    return ".".join(module.split(".")[1:2])


def part_of_file(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """Yield the parts of the package that a file imports from, within functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            # `from lightning_gft import x` imports the part x.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = names if node.module == "lightning_gft" else [node.module or ""]
        else:
            continue
        yield from (part_of(module) for module in modules if module.split(".")[0] == "lightning_gft")


def may_import(importer: str, part: str) -> bool:
    if importer == part:
        return True
    if importer in APART:
        return part in APART[importer]
    return part in LAYER and LAYER[part] < LAYER[importer]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_go_one_way(path: Path):
    importer = part_of_file(path)
    if importer == "__init__":
        return  # the public names of all parts
    assert importer in LAYER or importer in APART, f"{importer} has no place in the order of imports"
    assert not [part for part in imported(path) if not may_import(importer, part)]


def project_files() -> list[Path]:
    """Return the Python files of the package, its tests and its benchmarks, relative to the project."""
    files = [
        path.relative_to(ROOT)
        for part in ("lightning_gft", "tests", "benchmarks")
        for path in (ROOT / part).rglob("*.py")
    ]
    return sorted(
        file for file in files if not any(folder in UNTRACKED or folder.startswith(".") for folder in file.parts)
    )


@pytest.mark.parametrize("path", project_files(), ids=Path.as_posix)
def test_files_stay_small(path: Path):
    assert len((ROOT / path).read_text().splitlines()) <= 300


def test_this_reading_of_imports_finds_them():
    found = set(imported(PACKAGE / "module.py"))
    assert {"sampler", "policy", "losses", "types"} <= found
    assert not may_import("policy", "sampler")
    assert not may_import("sources", "losses")
    assert not may_import("data", "batching")
