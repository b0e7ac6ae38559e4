"""The command ``lightning-gft doctor``: its sections, the printed findings, and the exit status."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial

import lightning_gft
from lightning_gft.cli.doctor.files import check_folders
from lightning_gft.cli.doctor.finding import Finding, tried
from lightning_gft.cli.doctor.libraries import check_libraries
from lightning_gft.cli.doctor.sections import in_process
from lightning_gft.errors import GFTRuntimeError

_SANDBOX_REMEDY = "CodeExecutionReward needs Linux 6.2 or later on x86-64 or aarch64, with Landlock and seccomp allowed"


def _check_sandbox() -> Iterator[Finding]:
    yield tried("programs of a model", _sandbox, _SANDBOX_REMEDY)


def _sandbox() -> str:
    from lightning_gft.sandbox.measure import measure

    if reached := measure().open:
        raise GFTRuntimeError(f"they would have access to {', '.join(sorted(reached))}")
    return "no access to network, files and other processes"


SECTIONS: dict[str, Callable[[], Iterator[Finding]]] = {
    "Libraries": check_libraries,
    "Devices": partial(in_process, "torch", "devices", "check_devices", needed=True),
    "Quantisation": partial(in_process, "bitsandbytes", "quantised", "check_quantisation", needed=False),
    "Several ranks": partial(in_process, "torch.distributed", "ranks", "check_ranks", needed=False),
    "Folders": check_folders,
    "Sandbox": _check_sandbox,
    "Training": partial(in_process, "training", "training", "check_training", needed=True),
}


def describe(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to a parser: it has none."""
    parser.epilog = "Exit status 1 if the package cannot work here, 0 otherwise. It takes about half a minute."


def run(options: argparse.Namespace) -> None:
    """Print the findings of each section; exit with status 1 if the package cannot work."""
    print(f"lightning-gft {lightning_gft.__version__}")
    findings: list[Finding] = []
    for title, check in SECTIONS.items():
        print(title, flush=True)
        for finding in check():
            print("\n".join(finding.lines()), flush=True)
            findings.append(finding)
    missing = [finding.name for finding in findings if finding.needed and not finding.works]
    if missing:
        print(f"lightning-gft cannot work here: {', '.join(missing)}")
        sys.exit(1)
    without = [finding.name for finding in findings if not finding.works]
    print("lightning-gft works here" + (f", but not: {', '.join(without)}" if without else ""))
