"""The package's imports go one way, and the project's files stay small."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import lightning_gft

PACKAGE = Path(lightning_gft.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
ROOT = Path(__file__).parents[1]
UNTRACKED = {"runs", "build"}
"""Folders of what was made, beside those whose names begin with a dot."""
ORDER = [
    {"errors", "lazy"},
    {"answers"},
    {"checks", "counts", "extras", "guarded", "markers", "seeds", "parts", "pauses", "phases", "sandbox", "waiting"},
    {"address", "annealing", "hub"},
    {"sampling"},
    {"types"},
    {"functional", "optimization", "schedules", "chat", "stored", "record"},
    {"metrics", "data", "checkpoint", "samples"},
    {"lm", "rewards", "rectifiers", "distributed"},
    {"rollout", "advantages"},
    {"policy"},
    {"teachers"},
    {"arithmetic", "gym", "sources", "losses"},
    {"sampler", "start_samples", "integrations"},
    {"evaluation"},
    {"training"},
    {"preflight"},
    {"inspection", "rescoring"},
    {"module"},
    {"export"},
    {"callbacks", "report"},
    {"cli"},
    {"__main__"},
]
LAYER = {part: number for number, parts in enumerate(ORDER) for part in parts}
APART: dict[str, set[str]] = {
    "data": {"errors", "types", "checks", "functional", "hub", "phases", "chat", "markers", "stored"},
    "report": {"errors", "record", "samples"},
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
        own = [module for module in modules if module.split(".")[0] == "lightning_gft"]
        yield from (part for module in own if (part := part_of(module)))


def may_import(importer: str, part: str) -> bool:
    if importer == part:
        return True
    if importer in APART:
        return part in APART[importer]
    return part in LAYER and LAYER[part] < LAYER[importer]


def test_every_part_has_its_place_in_the_order():
    assert {part_of_file(path) for path in FILES} - {"__init__"} <= LAYER.keys() | APART.keys()


def test_imports_go_one_way():
    upward = {
        f"{path.relative_to(PACKAGE)}: {part}"
        for path in FILES
        if (importer := part_of_file(path)) != "__init__"  # which has the public names of all parts
        for part in imported(path)
        if not may_import(importer, part)
    }
    assert not upward


def project_files() -> list[Path]:
    """Return the Python files of the package, its tests, its benchmarks and its site, relative to the project."""
    files = [
        path.relative_to(ROOT)
        for part in ("lightning_gft", "tests", "benchmarks", "website")
        for path in (ROOT / part).rglob("*.py")
    ]
    return sorted(
        file for file in files if not any(folder in UNTRACKED or folder.startswith(".") for folder in file.parts)
    )


def test_files_stay_small():
    lengths = {str(path): len((ROOT / path).read_text().splitlines()) for path in project_files()}
    assert not {path: length for path, length in lengths.items() if length > 300}
    assert lengths.keys() >= {"lightning_gft/module.py", "tests/test_imports.py"}


def test_this_reading_of_imports_finds_them():
    found = set(imported(PACKAGE / "module.py"))
    assert {"sampler", "policy", "losses", "types"} <= found
    assert not may_import("policy", "sampler")
    assert not may_import("sources", "losses")
    assert not may_import("data", "batching")
