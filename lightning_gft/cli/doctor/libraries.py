"""Installed versions of Python and of libraries, compared with the package's requirements."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, metadata, version

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lightning_gft.cli.doctor.finding import Finding

PACKAGE = "lightning-gft"
EXTRAS = {
    "lora": "adapters",
    "qlora": "4-bit and 8-bit weights",
    "math": "MathAccuracyReward",
    "endpoint": "EndpointSource",
    "gym": "ReasoningGymDataModule and ReasoningGymReward",
}
"""Purpose of each extra, except those for development."""


def check_libraries() -> Iterator[Finding]:
    """Yield the versions of Python, of the required libraries, and of those of each extra."""
    try:
        described = metadata(PACKAGE)
    except PackageNotFoundError:
        yield Finding(PACKAGE, False, "not installed", f"pip install {PACKAGE}", needed=True)
        return
    python = f"{platform.python_version()} ({sys.executable})"
    wanted = Requirement(f"python{described['Requires-Python']}").specifier
    yield Finding(
        "python", platform.python_version() in wanted, python, f"install a Python of version {wanted}", needed=True
    )
    requirements = [Requirement(text) for text in described.get_all("Requires-Dist") or []]
    own = [each for each in requirements if canonicalize_name(each.name) != PACKAGE]
    yield _installed("required", [each for each in own if _applies(each, "")], f"pip install {PACKAGE}", needed=True)
    for extra, purpose in EXTRAS.items():
        further = [each for each in own if _applies(each, extra) and not _applies(each, "")]
        yield _installed(f"for {purpose}", further, f"pip install '{PACKAGE}[{extra}]'")


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _installed(name: str, requirements: Iterable[Requirement], remedy: str, needed: bool = False) -> Finding:
    """Return the versions of libraries or, if some are missing or have a wrong version, only these."""
    found, wrong = [], []
    for requirement in sorted(requirements, key=lambda each: each.name.lower()):
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            wrong.append(f"{requirement.name} is not installed")
            continue
        found.append(f"{requirement.name} {installed}")
        if not requirement.specifier.contains(installed, prereleases=True):
            wrong.append(f"{requirement.name} is {installed}, not {requirement.specifier}")
    return Finding(name, not wrong, ", ".join(wrong or found), remedy, needed)
