"""What the code imports is declared in pyproject.toml, where it is imported."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
ONLY_USED_BY_OTHERS = {"tensorboard"}
"""Dependencies that Lightning imports for this package."""
TRIED_WHERE_INSTALLED = {"liger-kernel", "trackio"}
"""What benchmarks compare with, and tests use, where it is installed."""


def canonical(requirement: str) -> str:
    """Return the name of a distribution, without extras and versions, as package indexes compare names."""
    return re.sub("[-_.]+", "-", re.split(r"[\[<>=!~; ]", requirement)[0]).lower()


def declared(*extras: str) -> set[str]:
    """Return the distributions that the package needs with some extras, those that an extra names included."""
    requirements = [*PROJECT["dependencies"], *(entry for extra in extras for entry in EXTRAS[extra])]
    groups = [names for entry in requirements for names in re.findall(r"^lightning-gft\[(.+)\]$", entry)]
    inner = [name for names in groups for name in names.split(",")]
    return {canonical(entry) for entry in requirements} | (declared(*inner) if inner else set())


@cache
def imported(folder: str) -> set[str]:
    """Return the distributions that the files of a folder import, except the standard library and this project."""
    roots = {module.split(".")[0] for file in (ROOT / folder).rglob("*.py") for module in modules(file)}
    installed = distributions()
    own = {"lightning_gft", "tests", "benchmarks", "website"}
    return {canonical(installed.get(root, [root])[0]) for root in roots - own - sys.stdlib_module_names}


@cache
def distributions() -> Mapping[str, list[str]]:
    """Return the distributions of each package that is installed, for which the files of all are read."""
    return packages_distributions()


def modules(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize(
    ("folder", "extras"),
    [("lightning_gft", ["bench"]), ("tests", ["test"]), ("benchmarks", ["study"]), ("website", ["test"])],
)
def test_what_is_imported_is_declared(folder: str, extras: list[str]):
    assert imported(folder) <= declared(*extras) | TRIED_WHERE_INSTALLED


def test_what_is_declared_is_imported():
    assert declared() - imported("lightning_gft") == ONLY_USED_BY_OTHERS


def test_only_extras_bring_what_few_parts_need():
    assert imported("lightning_gft") - declared() == declared("endpoint", "gym", "math", "qlora") - declared() - {
        "lightning-gft"
    }
    assert imported("lightning_gft/policy") >= {"peft", "bitsandbytes"}
