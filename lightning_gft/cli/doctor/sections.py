"""Runs a section of the doctor's report in a subprocess, which may crash or hang.

The subprocess is ``python -P -m lightning_gft.cli.doctor.sections MODULE NAME``.
"""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from importlib import import_module

from lightning_gft.checks import cut
from lightning_gft.cli.doctor.finding import Finding

_SECONDS = 600.0
"""Time limit of a section: the first import on a busy machine or a network disk takes minutes."""
_LONG = 300


def in_process(title: str, module: str, name: str, needed: bool) -> Iterator[Finding]:
    """Yield the findings of a section, and a further one if its subprocess failed.

    Args:
        title: Name of the finding if the subprocess fails.
        module: Module of the doctor that has the section.
        name: Function of that module, which yields findings.
        needed: Whether the package cannot work if the section does not run.
    """
    command = [sys.executable, "-P", "-m", __name__, module, name]  # -P: no imports from the current folder
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, stdin=subprocess.DEVNULL)  # noqa: S603
    except subprocess.TimeoutExpired:
        yield Finding(
            title, False, f"no answer within {_SECONDS:.0f} seconds", "try again when the machine is less busy", needed
        )
        return
    for line in ended.stdout.splitlines():
        yield Finding(**json.loads(line))
    if ended.returncode:
        remedy = f"install the libraries again; for the whole error, run {shlex.join(command)}"
        yield Finding(title, False, _reason(ended.returncode, ended.stderr), remedy, needed)


def _reason(status: int, printed: str) -> str:
    if status < 0:
        return f"its process crashed with {signal.Signals(-status).name}"
    last = printed.strip().splitlines()[-1:] or [f"its process ended with status {status}"]
    return cut(last[0], _LONG)


def main(module: str, name: str) -> None:
    """Print the findings of a section as JSON, one per line."""
    output = sys.stdout
    sys.stdout = sys.stderr  # output of libraries must not mix with the findings
    for finding in getattr(import_module(f"lightning_gft.cli.doctor.{module}"), name)():
        output.write(json.dumps(asdict(finding)) + "\n")
        output.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
