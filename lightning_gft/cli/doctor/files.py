"""Folders that runs write to."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lightning_gft.cli.doctor.finding import Finding, tried
from lightning_gft.cli.writable import check_writable

_GB = 2**30


def check_folders() -> Iterator[Finding]:
    """Yield whether each folder can be written to, with its free space."""
    from huggingface_hub.constants import HF_HUB_CACHE

    yield _place("this folder", str(Path.cwd()), "change to another folder, or set trainer.default_root_dir")
    yield _place("temporary files", tempfile.gettempdir(), "set TMPDIR to a folder that can be written to")
    yield _place("downloads from the hub", HF_HUB_CACHE, "set HF_HOME to a folder that can be written to")


def _place(name: str, folder: str, remedy: str) -> Finding:
    def attempt() -> str:
        check_writable(name, folder)
        existing = next(path for path in (Path(folder), *Path(folder).parents) if path.exists())
        return f"{folder}, {shutil.disk_usage(existing).free / _GB:.1f} GiB free"

    return tried(name, attempt, remedy)
