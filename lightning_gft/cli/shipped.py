"""The configurations that come with the package."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import lightning_gft
from lightning_gft.checks import cut, did_you_mean
from lightning_gft.errors import GFTUsageError, GFTValueError

FOLDER = "configs"
"""Folder of the configurations, in the package, in a checkout and in their names."""

_SENTENCE = re.compile(r"(.+?(?<!\bDr)\.)(?:\s|$)")
_SHOWN = 200
_MOST_NAMED = 5


def shipped() -> dict[str, Path]:
    """Return the package's configurations by name, the bases before the overlays.

    Raises:
        ValueError: If the installation has none.

    Example:
        >>> shipped()["configs/quickstart/gft.yaml"].is_file()
        True
    """
    package = Path(lightning_gft.__file__).parent
    for root in (package, package.parent):  # as installed from a wheel; as in a checkout, also an editable one
        if paths := sorted((root / FOLDER).rglob("*.yaml"), key=_order):
            return {path.relative_to(root).as_posix(): path for path in paths}
    raise GFTValueError(f"expected the folder {FOLDER} in the installation, got none; install lightning-gft again")


def description(path: Path) -> str:
    """Return the first sentence of the comment that a configuration begins with.

    Example:
        >>> description(shipped()["configs/gsm8k.yaml"])
        'Group fine-tuning of a pretrained model on GSM8K, grade-school mathematics in words.'
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    end = next((number for number, line in enumerate(lines) if line.strip("# ") == "" or line[0] != "#"), len(lines))
    comment = " ".join(line.strip("# ") for line in lines[:end])
    sentence = _SENTENCE.match(comment)
    return sentence[1] if sentence else comment


def copy(names: Iterable[str], folder: Path) -> list[Path]:
    """Copy configurations into a folder, at the places that their names have below ``configs``.

    Args:
        names: Names as in :func:`shipped`; the folder ``configs`` may be left out.
        folder: Folder to copy to; created if it does not exist.

    Returns:
        The paths of the copies; a copy that was there already, unchanged, is one of them.

    Raises:
        ValueError: If a name is unknown, or another file has the place of a copy; then nothing is copied.
    """
    known = shipped()
    copies = {folder / full.removeprefix(f"{FOLDER}/"): known[full] for full in map(full_name, names)}
    taken = [str(target) for target, source in copies.items() if _differs(source, target)]
    if taken:
        shown = ", ".join(taken[:_MOST_NAMED]) + (" ..." if taken[_MOST_NAMED:] else "")
        raise GFTValueError(
            f"`--to`: expected a folder without other files of these names, got {shown}; move them, or choose another "
            "folder"
        )
    for target, source in copies.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            shutil.copyfile(source, target)
    return list(copies)


def full_name(name: str) -> str:
    """Return the name of a configuration as :func:`shipped` has it.

    Raises:
        ValueError: If there is none of that name.

    Example:
        >>> full_name("gsm8k.yaml")
        'configs/gsm8k.yaml'
        >>> full_name("overlays/grop.yaml")
        Traceback (most recent call last):
        lightning_gft.errors.GFTUsageError: `NAME`: expected one of the package's configurations, got ...
    """
    known = shipped()
    full = name if name in known else f"{FOLDER}/{name}"
    if full not in known:
        raise GFTUsageError(
            f"`NAME`: expected one of the package's configurations, got {cut(name, _SHOWN)!r}"
            f"{did_you_mean(full, known) or '; lightning-gft configs lists them'}"
        )
    return full


def _differs(source: Path, target: Path) -> bool:
    """Return whether the target exists and is no copy of the source."""
    if not target.exists() and not target.is_symlink():
        return False
    return not target.is_file() or target.read_bytes() != source.read_bytes()


def is_overlay(path: Path) -> bool:
    """Return whether a configuration of :func:`shipped` is to be layered over another one.

    Example:
        >>> is_overlay(shipped()["configs/gsm8k.yaml"]), is_overlay(shipped()["configs/overlays/grpo.yaml"])
        (False, True)
    """
    return path.parent.name == "overlays"


def _order(path: Path) -> tuple[bool, str]:
    return is_overlay(path), path.as_posix()
